# Hashes, chance, time, and processes that are killed in groups.
use strict;
use POSIX ":sys_wait_h";
use Time::HiRes;
my %h = map { $_ => 1 } 1 .. 30;
print join(",", keys %h), " ", rand(), " ", time, " ", Time::HiRes::time(), " $$\n";
sleep 3;
print time, " ", join(",", times), "\n";
for (1 .. 20) {
	my @p;
	for (1 .. 4) {
		my $p = fork;
		if (!$p) { sleep 1000; exit }
		push @p, $p;
		setpgrp($p, $p[0]);
	}
	select undef, undef, undef, 0.01;
	kill 9, -$p[0];
	my $gone = grep { waitpid($_, WNOHANG) > 0 } @p;
	print "$gone of 4 are gone\n";
}
local $SIG{ALRM} = sub { die "rang\n" };
eval { alarm 2; sleep 100 };
print $@, time, "\n";
