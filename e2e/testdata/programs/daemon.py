# A daemon that forks twice, is seen in /proc, and is ended by its number.
import os, signal, time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open("/tmp/daemon.pid", "w") as f:
            f.write(str(os.getpid()))
        for i in range(9):
            time.sleep(1)
            with open("/tmp/daemon.log", "a") as f:
                f.write("tick %d at %f of %d\n" % (i, time.time(), os.getppid()))
    os._exit(0)
os.wait()
time.sleep(3.5)
pid = int(open("/tmp/daemon.pid").read())
print(open("/proc/%d/stat" % pid).read().split()[:6])
os.kill(pid, signal.SIGTERM)
time.sleep(5)
print(open("/tmp/daemon.log").read(), os.path.exists("/proc/%d" % pid))
