# Threads, processes, coroutines and signals that race.
import asyncio, concurrent.futures, multiprocessing, os, queue, random, signal, threading, time

count = 0
lock = threading.Lock()


def work(i):
    global count
    for _ in range(500):
        count += 1
    with lock:
        time.sleep(random.random() / 100)
        print("thread", i, time.time())


def square(x):
    return x * x, os.getpid()


async def nap(i):
    await asyncio.sleep(random.random())
    print("coroutine", i, time.time())


async def talk():
    await asyncio.gather(*(nap(i) for i in range(5)))
    p = await asyncio.create_subprocess_exec("sh", "-c", "sleep 1; cat; date", stdin=-1, stdout=-1)
    print(await p.communicate(b"hello\n"))
    try:
        await asyncio.wait_for(asyncio.sleep(10), 2)
    except asyncio.TimeoutError:
        print("timeout", time.time())


if __name__ == "__main__":
    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(count)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        naps = [pool.submit(lambda i=i: (time.sleep(random.random()), i)[1]) for i in range(6)]
        print([f.result() for f in concurrent.futures.as_completed(naps)])
    q = queue.Queue(2)
    threading.Thread(target=lambda: [q.put(i) for i in range(9)]).start()
    print([q.get() for _ in range(9)])
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print(pool.map(square, range(6), chunksize=1))
    asyncio.run(talk())
    rang = 0

    def ring(*_):
        global rang
        rang += 1

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    r, w = os.pipe()
    if os.fork() == 0:
        for _ in range(200):
            os.write(w, b"x" * 5000)
            time.sleep(0.001)
        os._exit(0)
    os.close(w)
    moved = 0
    while part := os.read(r, 65536):
        moved += len(part)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("moved", moved, "rang", rang, "at", time.time())
