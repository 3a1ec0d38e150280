package e2e

// programs are those that TestProgramsRunAlike runs. The shell and its usual tools are everywhere; what else there is on
// this machine is used, and what is not is skipped by name.
var programs = []tool{
	{name: "python", needs: []string{"python3"}, probe: "python3 -c 'import sqlite3, uuid, zipfile, tempfile'",
		argv: []string{"python3", "/in/programs/chance.py"}, want: []string{`1767225600\.`, `^2 1 1 posix`, `stdout='3\\nThu Jan +1 00:00:00`}},
	{name: "python-threads", needs: []string{"python3"}, probe: "python3 -c 'import asyncio, multiprocessing, concurrent.futures'",
		argv: []string{"python3", "/in/programs/threads.py"}, want: []string{`^3000$`, `^timeout 1767225`, `^moved 1000000 rang [1-9]`}},
	{name: "python-daemon", needs: []string{"python3"}, argv: []string{"python3", "/in/programs/daemon.py"}, want: []string{`^tick 2 at 1767225603\.\d+ of 1\n False$`}},
	{name: "python-ssl", needs: []string{"python3"}, probe: "python3 -c 'import ssl, json, http.client'",
		argv: []string{"python3", "-c", "import ssl, json, http.client; print(ssl.OPENSSL_VERSION, ssl.create_default_context().cert_store_stats(), ssl.RAND_bytes(4))"}, want: []string{`^OpenSSL`}},
	{name: "perl", needs: []string{"perl"}, probe: "perl -MPOSIX -MTime::HiRes -e1", argv: []string{"perl", "/in/programs/chance.pl"},
		want: []string{`^1767225603 `, `(^4 of 4 are gone\n){20}`, `^rang\n176722560\d$`}},
	{name: "perl-threads", needs: []string{"perl"}, probe: "perl -Mthreads -e1", argv: []string{"perl", "/in/programs/threads.pl"}, want: []string{`^250$`}},
	{name: "bash", argv: []string{"bash", "/in/programs/jobs.sh"},
		want: []string{`Stopped +sleep 100`, `^to it$`, `^told$`, `^deep \d+$`, `^124$`, `^137$`, `^HOME=|^0$`, `^Thu Jan.*\nThu Jan`, `^1767225\d+\.\d{9}\nbye$`, `^3a4\n> 4$`}},
	{name: "gcc", needs: []string{"gcc"}, flags: []string{"--workdir", "/tmp"}, argv: sh(`
		printf '#include <stdio.h>\nint main(void) { puts(__DATE__ " " __TIME__ " " __FILE__); return 0; }' > a.c
		gcc -g -O2 a.c && ./a.out && sha256sum a.out && gcc -O2 -flto a.c -o b && sha256sum b`), want: []string{`^Jan  1 2026 00:00:0`}},
	{name: "g++", needs: []string{"g++"}, flags: []string{"--workdir", "/tmp"}, argv: sh("g++ -std=c++17 -pthread /in/programs/race.cc -o race && ./race && sha256sum race"),
		want: []string{`^(\d ){6}300 `}},
	{name: "make", needs: []string{"make", "gcc"}, flags: []string{"--workdir", "/tmp"}, argv: sh("make -f /in/programs/Makefile -j4 && make -f /in/programs/Makefile -B -O -j3"),
		want: []string{`^1767225600\.\d{9} 6\.o$`}},
	{name: "tools-of-chance", argv: sh("seq 100 | sort -R | head -3; shuf -i 1-1000 -n 3; seq 9 | shuf; mktemp; mktemp -d; od -An -tx8 -N16 /dev/urandom; cat /proc/sys/kernel/random/uuid"),
		want: []string{`^/tmp/tmp\.\w{10}$`}},
	{name: "xargs", argv: sh(`seq 24 | xargs -P4 -n2 sh -c 'sleep 0.$((RANDOM % 9)); echo $0 $1 $$; date +%N'`), want: []string{`^23 24 \d+$`}},
	{name: "openssl", needs: []string{"openssl"}, flags: []string{"--workdir", "/tmp"}, argv: sh(`
		openssl rand -hex 16; openssl genrsa 1024 2> /dev/null | sha256sum
		openssl req -x509 -newkey rsa:1024 -nodes -keyout k -out c -subj /CN=x -days 3 2> /dev/null; openssl x509 -in c -noout -dates -serial`), want: []string{`^notBefore=Jan  1 00:00:0\d 2026 GMT$`}},
	{name: "tar", flags: []string{"--workdir", "/tmp"}, argv: sh(`
		mkdir d; for i in $(seq 200); do echo $i > d/$i; done
		tar czf a.tgz d; echo $?; sha256sum a.tgz; mkdir e; tar xzf a.tgz -C e; diff -r d e/d && echo alike; gzip -k d/1; sha256sum d/1.gz; ls -la --time-style=+%s.%N e | head -5`), want: []string{`^0\n`, `^alike$`}},
	{name: "zips", needs: []string{"xz", "bzip2"}, flags: []string{"--workdir", "/tmp"}, argv: sh(`
		seq 20000 > a; xz -T2 -k a; bzip2 -k a; ! command -v zstd > /dev/null || zstd -q -T2 a; ! command -v zip > /dev/null || zip -q a.zip a; sha256sum a.*; xz -dc a.xz | cmp - a && echo whole`), want: []string{`^whole$`}},
	{name: "sqlite3", needs: []string{"sqlite3"}, argv: []string{"sqlite3", "/tmp/x.db", `create table t(a, b); pragma journal_mode=wal;
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into t select random() % 1000, hex(randomblob(4)) from n;
		create index i on t(a); select sum(a), max(b), datetime() from t; vacuum; pragma integrity_check;`}, want: []string{`\|2026-01-01 00:00:00$`, `^ok$`}},
	{name: "git", needs: []string{"git"}, flags: []string{"--workdir", "/tmp"}, argv: sh(`
		export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
		git init -q -b main a && cd a && for i in 1 2 3; do seq $i > $i; git add .; git commit -qm "$i"; done
		git checkout -q -b other HEAD~1; echo x >> 1; git commit -qam x; git checkout -q main; git merge -q --no-ff other -m m
		git log --format='%H %cI'; git gc -q; git fsck; ls .git/objects/pack; cd ..; git clone -q a b; git -C b rev-parse HEAD; git -C b archive HEAD | sha256sum`),
		want: []string{`^[0-9a-f]{40} 2026-01-01T00:00:0\d(\+00:00|Z)$`, `^pack-[0-9a-f]{40}\.pack$`}},
	{name: "find", flags: []string{"--workdir", "/tmp"}, argv: sh(`
		for i in $(seq 1000); do : > $i; done; ls -U | sha256sum; find . -type f -newer 500 | wc -l; find /usr/share -maxdepth 1 | sha256sum; find /etc -maxdepth 1 -printf '%i %T@ %s %p\n' 2> /dev/null | head -3; rm [0-9]*; ls | wc -l; du -s .`), want: []string{`^500$`, `^0$`}},
	{name: "date", argv: sh("date; sleep 1d; date +%s.%N; date -u -d yesterday +%F; time sleep 5"), want: []string{`^Thu Jan +1 00:00:00 UTC 2026$`, `^17673120\d\d\.\d{9}$`, `^real\t0m5\.0`}},
	{name: "ps", needs: []string{"ps"}, argv: sh("sleep 99 & sleep 0.1; kill -STOP $!; ps -eo pid,ppid,pgid,sid,stat,args; ps aux; free; uptime; kill -9 $!"), want: []string{`^ +3 +2 +2 +2 T +sleep 99$`, `up 0 min`}},
	{name: "machine", argv: sh("uname -a; hostname; nproc; id; tty; df -h /tmp; stat /tmp; mount; ulimit -a; cat /proc/cpuinfo /proc/meminfo /proc/self/status /proc/self/maps; env; ls -la / /dev /proc; umask; getconf -a"),
		want: []string{`^Linux cage 6\.1\.0 #1 SMP x86_64`, `^1\n`, `^uid=0\(root\) gid=0\(root\) groups=0\(root\)$`, `^not a tty$`, `^model name\t: DockLock x86-64-v2$`}},
	{name: "awk-sed-grep", needs: []string{"awk", "sed", "grep"}, argv: sh(`
		awk 'BEGIN { srand(); print rand(); "date" | getline x; print x; for (i = 0; i < 9; i++) a[i * 7] = i; for (k in a) print k; system("echo $$") }'
		sed -n '1,2p' /etc/passwd; grep -c . /etc/passwd; cut -d: -f1 /etc/passwd | sort -r | head -2; join <(seq 3) <(seq 2 4); comm <(seq 3) <(seq 2 4)`), want: []string{`^Thu Jan`, `^root:`}},
	{name: "jq", needs: []string{"jq"}, argv: sh(`echo '{"a": [1, {"b": 3}]}' | jq -c '.a[1].b, now, (now | todate), env.PATH'`), want: []string{`^3\n1767225600`}},
	{name: "bc", needs: []string{"bc"}, argv: sh(`echo 'scale=30; 4*a(1)' | bc -l`), want: []string{`^3\.14159265358979323846`}},
	{name: "curl", needs: []string{"curl"}, argv: sh("curl --version"), want: []string{`^curl \d`}},
	{name: "node", needs: []string{"node"}, flags: []string{"--limit", "mem=8g"}, argv: []string{"node", "/in/programs/chance.js"}, want: []string{`^\[ 2, 0\.\d+, 1767225600\d+ \]$`, `^late 176722560\d{4}$`}},
	{name: "java", needs: []string{"java"}, flags: []string{"--limit", "mem=8g"}, argv: []string{"java", "-version"}, want: []string{`version "`}},
	{name: "go", needs: []string{"go"}, probe: "test -x /usr/local/go/bin/go || test -x /usr/lib/go/bin/go || test -x /opt/go/bin/go", argv: sh(`
		go=$(ls -d /usr/local/go /usr/lib/go /opt/go 2> /dev/null | head -1)/bin/go; export GOCACHE=/tmp/c GOTOOLCHAIN=local GOFLAGS=-mod=mod
		$go version; printf 'package p\nfunc F(x int) int { return 3*x }\n' > /tmp/p.go; $go tool compile -p p -o /tmp/p.o /tmp/p.go && sha256sum /tmp/p.o`), want: []string{`^go version go`, `/tmp/p\.o$`}},
	{name: "rust", needs: []string{"rustc"}, probe: `readlink -f "$(command -v rustc)" | grep -q ^/usr/`, flags: []string{"--limit", "mem=4g", "--workdir", "/tmp"}, argv: sh(`
		printf 'use std::collections::HashSet; fn main() { let s: HashSet<i32> = (0..9).collect(); println!("{:?} {:?}", s, std::time::SystemTime::now()); }' > a.rs; rustc a.rs && ./a && sha256sum a`), want: []string{`tv_sec: 1767225600`}},
	{name: "cmake", needs: []string{"cmake", "make", "gcc"}, flags: []string{"--workdir", "/tmp"}, argv: sh(`
		printf 'cmake_minimum_required(VERSION 3.10)\nproject(x C)\nadd_executable(x x.c)\n' > CMakeLists.txt; echo 'int main(void) { return 0; }' > x.c; cmake -B b . && cmake --build b -j4 && sha256sum b/x`), want: []string{` b/x$`}},
	{name: "flood", flags: []string{"--limit", "out=64m"}, argv: sh("head -c 20000000 /dev/zero | tr '\\0' x | md5sum; yes | head -500000 | md5sum; dd if=/dev/urandom bs=1M count=2 2> /dev/null | split -b 700k - /tmp/s; md5sum /tmp/s*; seq 100000"), want: []string{`^100000$`}},
	{name: "ssh-keygen", needs: []string{"ssh-keygen"}, argv: sh("ssh-keygen -q -t ed25519 -N '' -f /tmp/k && cat /tmp/k.pub"), want: []string{`^ssh-ed25519 \S+ root@cage$`}},

	// What is out of reach says so, and says it the same way each time.
	{name: "no-network", needs: []string{"curl"}, argv: []string{"curl", "-sS", "http://example.com/"}, code: 6, want: []string{`Could not resolve host`}},
	{name: "no-debugger", needs: []string{"gdb"}, argv: []string{"gdb", "-batch", "-ex", "run", "true"}, code: 1, want: []string{`Operation not permitted`}},
	{name: "no-strace", needs: []string{"strace"}, argv: []string{"strace", "true"}, code: 1, want: []string{`Operation not permitted`}},
	{name: "no-terminal", needs: []string{"script"}, argv: []string{"script", "-c", "date", "/tmp/typescript"}, code: 1, want: []string{`failed to create pseudo-terminal`}},
	{name: "no-namespaces", needs: []string{"unshare", "mount"}, argv: sh("unshare -r true; echo $?; mount -t tmpfs x /tmp; echo $?; chroot / true; echo $?"), want: []string{`^1\n\d+\n125\n`, `Operation not permitted`}},
}
