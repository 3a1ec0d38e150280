#!/bin/sh
# tools.sh: common tools whose output is another one each time: random orders, names, dates, listings, parallel work.
bad=0
complain() {
	echo "NOT SENSIBLE: $*"
	bad=1
}

date
date +%s.%N
date -u -d @0
seq 1 50 >numbers
sort -R numbers | tr '\n' ' '
echo
shuf numbers | tr '\n' ' '
echo
shuf -n 5 -i 1-1000000 | tr '\n' ' '
echo
[ "$(shuf numbers | sort -n | cksum)" = "$(cksum <numbers)" ] || complain "shuf lost a number"
for i in 1 2 3; do mktemp; done
mktemp -d
mktemp -u
[ "$(mktemp)" != "$(mktemp)" ] || complain "two temporary files have one name"
head -c 32 /dev/urandom | od -An -tx1
[ "$(head -c 8 /dev/urandom | od -An -tx1)" != "$(head -c 8 /dev/urandom | od -An -tx1)" ] || complain "urandom repeats itself"
cat /proc/sys/kernel/random/uuid

mkdir -p tree/a/b tree/c
for i in $(shuf numbers); do
	echo "$i" >"tree/a/file$i"
done
ln -s a tree/link
ln tree/a/file1 tree/c/hard
chmod 600 tree/a/file2
touch -d '2001-02-03 04:05:06 UTC' tree/a/file3
ls -la --time-style=full-iso tree tree/a
ls -iU tree/a | cksum
ls -t tree/a | head -n 5
find tree -printf '%p %i %n %s %m %T@ %C@ %u\n'
find tree -newer tree/a/file7 | wc -l
stat tree/a/file1 tree/link
du -a tree | cksum
df /work /tmp
cp -a tree copy
[ "$(stat -c %Y copy/a/file3)" = 981173106 ] || complain "cp -a lost a date"
diff -r tree copy || complain "the copy differs"

xargs -P 4 -n 1 sh -c 'echo "$1 by $$" >>parallel; sleep 0.0$(($1 % 7))' sh <numbers
[ "$(wc -l <parallel)" -eq 50 ] || complain "xargs did $(wc -l <parallel) of 50"
cat parallel | cksum
head -n 8 parallel

id
uname -a
hostname
nproc
env | sort
ulimit -a
umask
tty
ls /proc/self/fd | wc -l
ls -l /proc/self/exe /dev
awk 'BEGIN { srand(); print rand(), srand(); x["a"]; x["b"]; x["c"]; for (k in x) printf "%s ", k; print "" }'
timeout 0.1 sleep 5
code=$?
[ $code -eq 124 ] || complain "timeout gives $code"
exit $bad
