/* docklock_main for builds without the zygote: warm up, then run once. */
#ifndef DOCKLOCK_H
#define DOCKLOCK_H
int docklock_main(int argc, char **argv, int (*warm_up)(void), int (*run)(int, char **));
#endif
