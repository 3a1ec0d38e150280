#!/bin/sh
# jobs.sh: what a shell does with processes: background jobs, pipelines, subshells, traps, waits, here-documents.
bad=0
complain() {
	echo "NOT SENSIBLE: $*"
	bad=1
}

echo "shell $$ parent $PPID in $(pwd)"
for n in 7 2 9 4 1 8; do
	(
		sleep "0.$n"
		echo "$n" >>slept
	) &
	echo "started $!"
done
wait
sorted=$(sort -n slept | tr '\n' ' ')
[ "$(tr '\n' ' ' <slept)" = "$sorted" ] || complain "sleepers woke as $(tr '\n' ' ' <slept)"
cat slept

i=0
while [ $i -lt 20 ]; do
	(echo "line $i of $$" >>race) &
	i=$((i + 1))
done
wait
[ "$(wc -l <race)" -eq 20 ] || complain "$(wc -l <race) lines of 20"
cat race

count=$(seq 1 20000 | sed 's/^/number /' | grep 7 | tee seven | wc -l)
[ "$count" -eq 6878 ] || complain "$count numbers with a 7"
cksum seven
yes | head -n 100000 | cksum
echo "yes ended by its pipe"

(exit 5)
[ $? -eq 5 ] || complain "a subshell's code"
sh -c 'kill -TERM $$'
code=$?
[ $code -eq 143 ] || complain "a shell that was terminated gives $code"
false | true || complain "a pipeline is its last"

trap 'echo "trapped USR1"; hit=1' USR1
sh -c "sleep 0.02; kill -USR1 $$" &
other=$!
hit=0
wait $other
code=$?
[ $hit -eq 1 ] || complain "no signal came"
echo "wait broken: $code"
wait $other
trap 'echo "bye from $$"' EXIT

sleep 100 &
sleeper=$!
kill $sleeper
wait $sleeper
code=$?
[ $code -eq 143 ] || complain "a killed sleeper gives $code"
kill -0 $sleeper 2>/dev/null && complain "a killed sleeper lives"

mkfifo pipe
cat pipe >from_pipe &
for n in 1 2 3; do echo "through the fifo $n"; done >pipe
wait
cat from_pipe
sum=0
while read -r n; do
	sum=$((sum + n))
done <<END
1
20
300
END
[ $sum -eq 321 ] || complain "the here-document sums up to $sum"
slow=$(date +%s%N)
sleep 3
slow=$((($(date +%s%N) - slow) / 1000000))
echo "three seconds took $slow ms"
[ $slow -ge 3000 ] || complain "three seconds took $slow ms"
times
exit $bad
