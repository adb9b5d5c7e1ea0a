package Test::SerialVerify::Report;

# What a test that fails prints of the logs of its servers: of a run elsewhere
# nothing else is left.  Once at the first check that fails, where it happened,
# once when the test ends early.
#
#   watch(sub { LOG FILES });
#   limit_time(900, sub { what to do before the end });

use strict;
use warnings;

use Carp ();
use Exporter qw(import);
use File::Basename qw(basename dirname);
use POSIX ();
use Test2::API ();

our @EXPORT_OK = qw(watch limit_time tell_logs);

my $lines  = 25;
my $length = 400;
my $most   = 12;

my @sources;
my %told;


# watch(sub { LOG FILES }): they are printed when a check fails
sub watch {
    my ($files) = @_;

    Test2::API::test2_stack()->top->listen(sub { tell_logs('the first failure') if $_[1]->causes_fail }, inherit => 1) if !@sources;
    push @sources, $files;

    return;
}


# limit_time(SECONDS, CODE): the test ends then, whatever it waits for.  The
# handler is called at once, not when a call into libpq is over; if it gets no
# further itself, the second alarm ends it.
sub limit_time {
    my ($seconds, $before) = @_;

    my $action = POSIX::SigAction->new(sub {
        $SIG{ALRM} = 'DEFAULT';    ## no critic (RequireLocalizedPunctuationVars)
        alarm 30;
        print {*STDERR} Carp::longmess("# $0 takes longer than $seconds s");
        tell_logs('the end');
        $before->();
        POSIX::_exit(14);
    }, POSIX::SigSet->new, POSIX::SA_NODEFER());

    POSIX::sigaction(POSIX::SIGALRM(), $action) or Carp::croak("sigaction: $!");
    alarm $seconds;

    return;
}


# tell_logs(WHEN): the last lines of each log, those last written to first
sub tell_logs {
    my ($when) = @_;

    return if $told{"$$ $when"}++;

    my ($name) = basename($0) =~ /^(\w+)/;
    my @files = sort { -M $a <=> -M $b } grep { -s } map { $_->() } @sources;
    my @text  = ("the logs at $when" . (@files > $most ? ", $most of " . @files : '') . ':');

    for my $file (splice @files, 0, $most) {
        push @text, '--- ' . basename(dirname($file)) . '/' . basename($file);
        push @text, map { length > $length ? substr($_, 0, $length) . ' ..' : $_ } tail($file);
    }

    # several tests write to one terminal
    print {*STDERR} map { "# $name| $_\n" } @text;

    return;
}


sub tail {
    my ($file) = @_;

    open(my $fh, '<:raw', $file) or return;
    seek $fh, -$lines * $length, 2;
    local $/;
    my @all = split /\n/, <$fh> // '';

    return @all > $lines ? @all[-$lines .. -1] : @all;
}


1;
