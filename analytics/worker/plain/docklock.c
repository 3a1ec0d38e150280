#include "docklock.h"

int docklock_main(int argc, char **argv, int (*warm_up)(void), int (*run)(int, char **)) {
	int code = warm_up();
	return code != 0 ? code : run(argc, argv);
}
