// Package arch holds no code: its tests keep the shape of this repository.
package arch
