// Package browser meets the dashboard as people do: in a real Chromium, which shows
// the pages of the real binary. It holds tests only.
//
// Chromium is driven through its DevTools protocol over a pipe, by the few calls in
// chromium_test.go. They take minutes of an idle machine, so they run with
// REQUIRE_CHROMIUM=1 only (make test-browser), and fail where there is no browser.
// Pictures of the pages are kept in the folder that SCREENSHOTS names, if it names one.
package browser
