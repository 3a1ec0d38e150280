use strict;
use threads;
use threads::shared;
my $sum : shared = 0;
my @t = map { my $n = $_; threads->create(sub { for (1 .. 50) { lock $sum; $sum++ } select undef, undef, undef, rand; print "thread $n at ", time, "\n" }) } 1 .. 5;
$_->join for @t;
print "$sum\n";
