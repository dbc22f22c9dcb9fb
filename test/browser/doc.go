// Package browser meets the dashboard as people do: in a real Chromium, which shows
// the pages of the real binary. It holds tests only.
//
// Chromium is driven through its DevTools protocol over a pipe, by the few calls in
// chromium_test.go. Where there is none the tests are skipped; REQUIRE_CHROMIUM=1
// turns that into a failure, as REQUIRE_ORT=1 and REQUIRE_SHARED=1 do for the rest.
// Pictures of the pages are kept in the folder that SCREENSHOTS names, if it names one.
package browser
