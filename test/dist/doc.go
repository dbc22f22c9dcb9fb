// Package dist meets a release as people do who install it: it builds one twice, unpacks
// the archive into an empty folder and serves from it, and installs, runs and purges the
// Debian package. It holds tests only.
//
// They build four programs and compress them, so they run with REQUIRE_DIST=1 only (make
// test-dist). DIST_DEBIAN names a folder with a Debian in it, as debootstrap makes it;
// with that, and as root, the package is installed there and its unit run by systemd.
package dist
