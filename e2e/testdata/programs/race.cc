#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <thread>

static std::mutex m;
static std::condition_variable cv;
static int turn;

int main() {
	std::thread threads[6];
	for (int i = 0; i < 6; i++)
		threads[i] = std::thread([i] {
			for (int k = 0; k < 50; k++) {
				std::unique_lock<std::mutex> l(m);
				cv.wait_for(l, std::chrono::microseconds(50), [i] { return turn % 6 == i; });
				turn++;
				cv.notify_all();
			}
			std::printf("%d ", i);
		});
	for (auto &t : threads)
		t.join();
	std::printf("%d %d %p %lld %u\n", turn, std::async(std::launch::async, [] { return 7; }).get(), (void *)new int,
		    (long long)std::chrono::system_clock::now().time_since_epoch().count(), std::thread::hardware_concurrency());
}
