# Job control, traps, and all the ways in which a shell lets two things happen at once.
echo $RANDOM $SRANDOM $$ $PPID $BASHPID $EPOCHREALTIME $SECONDS
set -m
sleep 100 & jobs
kill -STOP %1; sleep 1; jobs; kill -CONT %1; sleep 1; jobs; kill %1; wait; jobs
set +m
diff <(seq 3) <(seq 4)
seq 5 | tee >(wc -l > /tmp/lines) > /dev/null; sleep 1; cat /tmp/lines
coproc cat; echo to it >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo "$line"; kill $COPROC_PID
mkfifo /tmp/fifo; seq 3 > /tmp/fifo & cat /tmp/fifo
sleep 1 & sleep 2 & wait -n; echo $?; wait
trap 'echo told' USR1; (sleep 1; kill -USR1 $$) & wait; echo went on
read -t 2 none < <(sleep 5); echo $?
for i in $(seq 20); do (sleep 0.$((RANDOM % 10)); echo $i | cat) & done; wait
nested() { [ $1 -gt 0 ] && (nested $(($1 - 1))) || echo deep $BASHPID; }; nested 20
timeout 2 sleep 5; echo $?
timeout -s KILL 2 sleep 5; echo $?
setsid sh -c 'sleep 9 & sleep 9 & (sleep 9; echo) & sleep 0.1; kill -9 0'; echo $?
nice -n 5 nohup env -i sh -c 'nice; env'
(flock 9; sleep 2; date) 9> /tmp/lock & flock /tmp/lock date; wait
trap 'echo bye' EXIT
date +%s.%N
