package dist

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestUnit: systemd has nothing to say against the unit, and it is shut in well.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not here: the unit is not checked")
	}
	text := string(readFile(t, filepath.Join(root, "deploy/systemd/lazyolo.service")))
	// The check wants to see the program.
	at := filepath.Join(t.TempDir(), "lazyolo.service")
	writeFile(t, at, strings.Replace(text, "ExecStart=lazyolo ", "ExecStart="+filepath.Join(unpack(t, runtime.GOARCH), "lazyolo")+" ", 1), 0o644)
	if out := run(t, ".", nil, "systemd-analyze", "verify", "--man=no", at); strings.TrimSpace(out) != "" {
		t.Errorf("verify: %s", out)
	}
	// 0 is shut in wholly, 10 not at all; the unit stands at 1.5.
	out := run(t, ".", nil, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", at)
	contains(t, out, "Overall exposure level")
}

// The probe runs in the Debian that systemd-nspawn starts. It stops the machine at its end.
const probe = `
ask() { exec 3<>/dev/tcp/127.0.0.1/8000 && cat "$1" >&3 && cat <&3; }
come() { for i in $(seq 150); do (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null && return; sleep 0.2; done; echo "nobody listens"; }
cd /root
come; ask detect >answer
systemctl is-enabled lazyolo; systemctl is-active lazyolo
before=$(systemctl show -P MainPID lazyolo)
systemctl reload lazyolo; systemctl is-active lazyolo
[ "$before" = "$(systemctl show -P MainPID lazyolo)" ] && echo "reloaded"
dpkg -i lazyolo.deb >dpkg.log 2>&1 && come
[ "$before" != "$(systemctl show -P MainPID lazyolo)" ] && echo "restarted by the upgrade"
ask detect >answer-after
stat -c '%U %a %n' /var/cache/lazyolo /var/cache/lazyolo/prepared /var/lib/lazyolo /var/lib/lazyolo/state
runuser -u lazyolo -- lazyolo doctor --config /etc/lazyolo/lazyolo.yaml && echo "doctor is content"
dpkg -r lazyolo >>dpkg.log 2>&1; systemctl is-active lazyolo
ls /etc/lazyolo/lazyolo.yaml /var/lib/lazyolo/models
rm -r /var/lib/lazyolo/models/*
dpkg -P lazyolo >>dpkg.log 2>&1 && echo "purged"
getent passwd lazyolo; find / -xdev -name '*lazyolo*' ! -path '/root/*' ! -path '/proc/*' ! -path '/var/log/*'
journalctl -u lazyolo --no-pager >journal
`

// TestDebian installs the package in a Debian, has systemd run its unit, looks at a picture
// through it, upgrades it, removes it and purges it.
func TestDebian(t *testing.T) {
	debian := os.Getenv("DIST_DEBIAN")
	if debian == "" || os.Getuid() != 0 {
		t.Skip("the package is not installed and its unit not run: that takes root, systemd-nspawn, and a folder in DIST_DEBIAN made by\n" +
			"debootstrap --variant=minbase --include=systemd,systemd-sysv,init-system-helpers bookworm FOLDER")
	}
	machine := filepath.Join(t.TempDir(), "debian")
	run(t, ".", nil, "cp", "-a", debian, machine)
	in := func(name string) string { return filepath.Join(machine, name) }
	writeFile(t, in("root/lazyolo.deb"), string(readFile(t, result(t, "lazyolo_*_"+runtime.GOARCH+".deb"))), 0o644)
	contentType, body := form(readFile(t, filepath.Join(root, "cmd/lazyolo/demo/pictures/shapes.jpg")))
	writeFile(t, in("root/detect"), fmt.Sprintf("POST /api/v2/detect HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, body.Len(), body), 0o644)
	writeFile(t, in("root/probe.sh"), probe, 0o755)
	writeFile(t, in("etc/systemd/system/probe.service"), "[Unit]\nAfter=lazyolo.service\nSuccessAction=poweroff-force\nFailureAction=poweroff-force\n"+
		"[Service]\nType=oneshot\nTimeoutStartSec=120\nExecStart=bash /root/probe.sh\nStandardOutput=file:/root/said\nStandardError=inherit\n", 0o644)
	if err := os.Symlink("../probe.service", in("etc/systemd/system/multi-user.target.wants/probe.service")); err != nil {
		t.Fatal(err)
	}
	installed := run(t, ".", nil, "chroot", machine, "dpkg", "-i", "/root/lazyolo.deb")
	contains(t, installed, "Setting up lazyolo")
	if out := run(t, ".", nil, "chroot", machine, "dpkg", "--verify", "lazyolo"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	for _, name := range []string{"best.onnx", "labels.yaml"} {
		writeFile(t, in("var/lib/lazyolo/models/model_0/"+name), string(readFile(t, filepath.Join(root, "cmd/lazyolo/demo/models/model_0", name))), 0o644)
	}
	// A network of its own: nothing can be fetched, and port 8000 is free.
	run(t, ".", nil, "systemd-nspawn", "--quiet", "--boot", "--private-network", "--register=no", "--keep-unit", "--directory="+machine)

	said, journal := string(readFile(t, in("root/said"))), string(readFile(t, in("root/journal")))
	contains(t, said, "enabled\nactive\nactive\nreloaded\nrestarted by the upgrade\n", "lazyolo 700 /var/cache/lazyolo\n", "lazyolo 700 /var/cache/lazyolo/prepared\n", "lazyolo 755 /var/lib/lazyolo\n",
		"(from the folder of the executable)", "doctor is content\ninactive\n/etc/lazyolo/lazyolo.yaml\n")
	if _, after, ok := strings.Cut(said, "purged\n"); !ok || after != "" {
		t.Errorf("a purge leaves %q of:\n%s\n%s", after, said, readFile(t, in("root/dpkg.log")))
	}
	for _, name := range []string{"answer", "answer-after"} {
		header, answer, _ := strings.Cut(string(readFile(t, in("root/"+name))), "\r\n\r\n")
		if !strings.HasPrefix(header, "HTTP/1.0 200") || count(t, []byte(answer)) < 3 {
			t.Errorf("%s: %s\n%s\n%s", name, header, answer, journal)
		}
	}
	if m := regexp.MustCompile(`level=(WARN|ERROR).*`).FindString(journal); m != "" {
		t.Errorf("the journal has: %s", m)
	}
}
