/* threads: what natively comes out otherwise each time: "mutex" the order in which four threads get a lock, "racy" a counter
 * that none protects, "condvar" a queue between three producers and three consumers, "sync" semaphores, barriers, rwlocks
 * and timed waits. */
#include "strict.h"
#include <semaphore.h>

#define THREADS 4
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static char order[THREADS * 500 + 1];
static int orders;
static void *locker(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 77;
	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&lock);
		order[orders++] = 'a' + (char)(intptr_t)arg;
		work(next(&seed) % 300);
		if (i % 50 == 0)
			sched_yield();
		pthread_mutex_unlock(&lock);
		work(next(&seed) % 300);
	}
	return NULL;
}

static volatile long counter;
static void *racer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 13;
	for (int i = 0; i < 20000; i++) {
		long c = counter;
		if (i % 1000 == 0)
			sched_yield();
		work(next(&seed) % 4);
		counter = c + 1;
	}
	return NULL;
}

static pthread_cond_t full = PTHREAD_COND_INITIALIZER, empty = PTHREAD_COND_INITIALIZER;
static int queue[8], head, held, closed;
static int got[3][1000], gots[3];
static void *producer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 5;
	for (int i = 0; i < 300; i++) {
		work(next(&seed) % 500);
		pthread_mutex_lock(&lock);
		while (held == 8)
			pthread_cond_wait(&empty, &lock);
		queue[(head + held++) % 8] = (int)(intptr_t)arg * 300 + i;
		pthread_cond_signal(&full);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}
static void *consumer(void *arg)
{
	int me = (int)(intptr_t)arg;
	unsigned seed = me;
	for (;;) {
		pthread_mutex_lock(&lock);
		while (held == 0 && !closed)
			pthread_cond_wait(&full, &lock);
		if (held == 0) {
			pthread_mutex_unlock(&lock);
			return NULL;
		}
		got[me][gots[me]++] = queue[head];
		head = (head + 1) % 8;
		held--;
		pthread_cond_broadcast(&empty);
		pthread_mutex_unlock(&lock);
		work(next(&seed) % 500);
	}
}

static sem_t sem;
static pthread_barrier_t barrier;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int onces, serials, through[THREADS];
static void first(void) { onces++; }
static _Thread_local int own = 5;
static void *meeter(void *arg)
{
	int me = (int)(intptr_t)arg;
	own += me;
	for (int i = 0; i < 20; i++) {
		pthread_once(&once, first);
		work(me * 100);
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
			pthread_rwlock_wrlock(&rw);
			serials = serials * 31 + me;
			pthread_rwlock_unlock(&rw);
		}
		pthread_rwlock_rdlock(&rw);
		through[me] += own == 5 + me;
		pthread_rwlock_unlock(&rw);
		sem_wait(&sem);
		sched_yield();
		sem_post(&sem);
	}
	return (void *)(intptr_t)own;
}

static void run(pthread_t *t, int n, void *(*f)(void *))
{
	for (intptr_t i = 0; i < n; i++)
		MUST(pthread_create(&t[i], NULL, f, (void *)i) == 0, "pthread_create");
}
static void join(pthread_t *t, int n)
{
	for (int i = 0; i < n; i++)
		MUST(pthread_join(t[i], NULL) == 0, "pthread_join");
}

static void timed(void)
{
	int64_t t0 = now();
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_nsec += 20000000;
	if (at.tv_nsec >= 1000000000)
		at.tv_nsec -= 1000000000, at.tv_sec++;
	pthread_mutex_lock(&lock);
	int r = pthread_cond_timedwait(&full, &lock, &at);
	pthread_mutex_unlock(&lock);
	int64_t t1 = now();
	sem_t none;
	sem_init(&none, 0, 0);
	int s = sem_timedwait(&none, &at) ? errno : 0;
	printf("timed out: %d %d, +%lld\n", r, s, (long long)(t1 - t0));
	WANT(r == ETIMEDOUT && s == ETIMEDOUT && t1 - t0 >= 19000000 && t1 - t0 < 5000000000, "20 ms of waiting took %lld ns", (long long)(t1 - t0));
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += 1;
	pthread_mutex_t held_by_me = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&held_by_me);
	printf("try %d\n", pthread_mutex_trylock(&held_by_me));
	struct timespec past = {1, 0};
	printf("timedlock %d\n", pthread_mutex_timedlock(&held_by_me, &past));
}

int main(int argc, char **argv)
{
	pthread_t a[THREADS], b[THREADS];
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "mutex") == 0) {
		run(a, THREADS, locker);
		join(a, THREADS);
		printf("order %.200s %016llx\n", order, (unsigned long long)mix(MIX0, order, orders));
		WANT(orders == THREADS * 500, "%d turns", orders);
	} else if (strcmp(what, "racy") == 0) {
		run(a, THREADS, racer);
		join(a, THREADS);
		printf("counter %ld\n", counter);
		WANT(counter >= 1000 && counter <= THREADS * 20000, "%ld", counter);
	} else if (strcmp(what, "condvar") == 0) {
		run(b, 3, consumer);
		run(a, 3, producer);
		join(a, 3);
		pthread_mutex_lock(&lock);
		closed = 1;
		pthread_cond_broadcast(&full);
		pthread_mutex_unlock(&lock);
		join(b, 3);
		static char seen[900];
		int n = 0;
		for (int c = 0; c < 3; c++) {
			printf("consumer %d: %d items, %016llx\n", c, gots[c], (unsigned long long)mix(MIX0, got[c], gots[c] * sizeof(int)));
			for (int i = 0; i < gots[c]; i++, n++) {
				WANT(!seen[got[c][i]], "item %d came twice", got[c][i]);
				seen[got[c][i]] = 1;
			}
		}
		WANT(n == 900, "%d items of 900 came", n);
	} else if (strcmp(what, "sync") == 0) {
		sem_init(&sem, 0, 2);
		pthread_barrier_init(&barrier, NULL, THREADS);
		run(a, THREADS, meeter);
		join(a, THREADS);
		printf("once %d serials %08x through %d %d %d %d\n", onces, serials, through[0], through[1], through[2], through[3]);
		WANT(onces == 1 && through[0] == 20 && through[3] == 20, "not all came through");
		timed();
	} else {
		return 9;
	}
	return SENSIBLE();
}
