// Package docs runs the documents: every command and every program in the
// README and in docs is run as a reader would, or is marked with the reason why
// not. Only tests live here.
package docs
