//! Promises of `service.md`: what a service manager is told, and that the units are valid and hardened.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tests::{Process, TestBroker, eventually, installed, program};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../broker/systemd");

/// Longer than the interval of ten seconds at which the broker tells what has changed.
const LONG: Duration = Duration::from_secs(20);

/// The end of `NOTIFY_SOCKET` where systemd would be.
struct ServiceManager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl ServiceManager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("the path is free");
        Self { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    fn broker(&self, flags: &[&str]) -> TestBroker {
        TestBroker::of(TestBroker::command(flags).env("NOTIFY_SOCKET", self.path()))
    }

    /// The lines that it is told next, if that is soon enough.
    fn next_within(&self, time: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(time)).expect("a time");
        let mut told = [0; 4096];
        let length = self.socket.recv(&mut told).ok()?;
        let told = String::from_utf8_lossy(&told[..length]);
        Some(told.lines().map(str::to_owned).collect())
    }

    /// Takes the next lines, which begin like this.
    #[track_caller]
    fn expect(&self, lines: &[&str]) -> Vec<String> {
        let told = self.next_within(LONG);
        let told = told.unwrap_or_else(|| panic!("it is not told {lines:?}"));
        let fits = told
            .iter()
            .zip(lines)
            .all(|(line, of)| line.starts_with(of));
        assert!(
            fits && told.len() == lines.len(),
            "{told:?} is not {lines:?}"
        );
        told
    }
}

/// The time of the clock that service managers use, in microseconds.
fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn a_service_manager_is_told_that_the_broker_serves_reloads_and_stops() {
    let manager = ServiceManager::start();
    let config = manager.folder.path().join("broker.toml");
    fs::write(&config, "max-queued = 10\n").expect("a file");
    let flags = ["--drain", "1h", "--config", config.to_str().expect("text")];
    let broker = manager.broker(&flags);
    manager.expect(&["READY=1", "STATUS=serving, connections: 0"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    for (text, came_of_it) in [
        ("max-queued = 20\n", "applied 2"),
        ("max-queuedd = 20\n", "failed 2"),
    ] {
        fs::write(&config, text).expect("a file");
        let before = monotonic_usec();
        broker.signal(Signal::HUP);
        // One datagram: Type=notify-reload needs both together.
        let told = manager.expect(&["RELOADING=1", "MONOTONIC_USEC="]);
        let at: i64 = told[1]["MONOTONIC_USEC=".len()..]
            .parse()
            .expect("a number");
        assert!((before..=monotonic_usec()).contains(&at), "{told:?}");
        let status = format!("STATUS=serving, connections: 1; reload {came_of_it}");
        manager.expect(&["READY=1", &status]);
    }
    broker.signal(Signal::TERM);
    // Before the drain, which has an hour.
    let told = manager.expect(&["STOPPING=1", "STATUS=stopping, ", "EXTEND_TIMEOUT_USEC="]);
    assert_eq!(told[2], "EXTEND_TIMEOUT_USEC=30000000");
    // A reload on the way does not make it ready again.
    broker.signal(Signal::HUP);
    manager.expect(&["STATUS=stopping, connections: 1; reload failed"]);
    assert_eq!(broker.stop().code, Some(0));
    ann.expect("BYE").expect_end();
    assert_eq!(manager.next_within(Duration::from_millis(10)), None);
}

#[test]
fn a_broker_that_drains_asks_for_more_time_as_long_as_it_does() {
    let manager = ServiceManager::start();
    let broker = manager.broker(&["--drain", "1h"]);
    manager.expect(&["READY=1", "STATUS="]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    broker.signal(Signal::TERM);
    manager.expect(&["STOPPING=1", "STATUS=", "EXTEND_TIMEOUT_USEC=30000000"]);
    manager.expect(&["EXTEND_TIMEOUT_USEC=30000000"]);
    ann.send("BYE").expect("BYE").expect_end();
    broker.wait_for_log("stopped; ");
    // The signal comes too late: it has ended by itself.
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn the_status_follows_the_connections_and_the_watchdog_is_told_twice_within_its_time() {
    let manager = ServiceManager::start();
    let mut command = TestBroker::command(&[]);
    command.env("NOTIFY_SOCKET", manager.path());
    let broker = TestBroker::of(command.env("WATCHDOG_USEC", "2000000"));
    manager.expect(&["READY=1", "STATUS=serving, connections: 0"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let mut beats = Vec::new();
    let told = loop {
        let told = manager.next_within(LONG).expect("a word of the broker");
        if told != ["WATCHDOG=1"] {
            break told;
        }
        beats.push(Instant::now());
    };
    assert_eq!(told, ["STATUS=serving, connections: 1"]);
    assert!(beats.len() >= 5, "{} in ten seconds", beats.len());
    for pair in beats.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause > Duration::from_millis(500), "{pause:?}");
        assert!(pause < Duration::from_secs(2), "{pause:?}");
    }
    // The questions are no news.
    assert!(!broker.log().contains("ends after"), "{}", broker.log());
}

/// Starts a broker and holds the thread that accepts, as a bug would, until it is told to let go.
const HOLDER: &str = r#"
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
END_WITH_PARENT, SEIZE, INTERRUPT, DETACH, ALL_THREADS = 1, 0x4206, 0x4207, 17, 0x40000000
def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
broker = subprocess.Popen(sys.argv[1:], preexec_fn=lambda: libc.prctl(END_WITH_PARENT, 9))
def name(thread):
    try:
        return open(f"/proc/{broker.pid}/task/{thread}/comm").read().strip()
    except FileNotFoundError:
        return "of a connection that has ended"
for line in sys.stdin:
    if line == "hold\n":
        threads = map(int, os.listdir(f"/proc/{broker.pid}/task"))
        # Those of connections have its name.
        held = min(thread for thread in threads if name(thread) == "accept")
        ptrace(SEIZE, held)
        ptrace(INTERRUPT, held)
        os.waitpid(held, ALL_THREADS)
    elif line == "reload\n":
        broker.send_signal(signal.SIGHUP)
    else:
        ptrace(DETACH, held)
    print(line, end="", flush=True)
"#;

#[test]
fn a_broker_whose_thread_for_newcomers_is_stuck_does_not_tell_the_watchdog() {
    let manager = ServiceManager::start();
    let limit = Duration::from_secs(1);
    let mut command = installed("python3", "python3");
    command.args(["-u", "-c", HOLDER]).arg(program("broker"));
    let config = manager.folder.path().join("broker.toml");
    fs::write(&config, "host = \"127.0.0.1\"\n").expect("a file");
    command.args(["--port", "0", "--config"]).arg(&config);
    command.env("NOTIFY_SOCKET", manager.path());
    command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    let mut holder = Process::start(&mut command);
    manager.expect(&["READY=1", "STATUS="]);
    manager.expect(&["WATCHDOG=1"]);
    // It is asked where it listens now.
    fs::write(&config, "host = \"127.0.0.2\"\n").expect("a file");
    holder.write("reload\n").expect("reload");
    holder.wait_for_complaint("reload: applied, changes: 1");
    holder.write("hold\n").expect("hold");
    // What was told before may wait still.
    let is_silent = (0..5).any(|_| manager.next_within(limit).is_none());
    assert!(is_silent, "the watchdog is told still");
    holder.wait_for_complaint("watchdog: the broker does not answer itself on 127.0.0.2:");
    assert_eq!(manager.next_within(limit), None);
    holder.write("let go\n").expect("let go");
    manager.expect(&["WATCHDOG=1"]);
}

#[test]
fn the_process_that_takes_over_is_named_and_the_old_one_is_silent() {
    let manager = ServiceManager::start();
    let socket = manager.folder.path().join("broker.sock");
    let flags = ["--drain", "1h", "--unix", socket.to_str().expect("text")];
    let broker = manager.broker(&flags);
    manager.expect(&["READY=1", "STATUS="]);
    // It keeps the old process.
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let mut order = installed("curl", "curl");
    order.args(["-s", "-XPOST", "--unix-socket"]).arg(&socket);
    let answer = succeeds(order.arg("http://localhost/api/restart"));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let pid = answer["pid"].as_i64().expect("a number");
    let mut told: Vec<String> = (0..2)
        .flat_map(|_| manager.next_within(LONG).expect("a word of each"))
        .collect();
    // Of the new process, whose words count from then on.
    let of_new = ["READY=1", "STATUS=serving, connections: 0"];
    told.retain(|line| !of_new.contains(&&**line));
    let status = format!("STATUS=serving in process {pid} since a restart");
    assert_eq!(told, [&*format!("MAINPID={pid}"), &status, "WATCHDOG=1"]);
    broker.signal(Signal::TERM);
    broker.wait_for_log("stopped; ");
    ann.expect("BYE").expect_end();
    assert_eq!(manager.next_within(Duration::from_millis(50)), None);
    let new = Pid::from_raw(i32::try_from(pid).expect("a number")).expect("a process");
    kill_process(new, Signal::TERM).expect("it runs");
    manager.expect(&["STOPPING=1", "STATUS=", "EXTEND_TIMEOUT_USEC="]);
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn without_a_service_manager_nothing_of_this_runs() {
    let threads = |broker: &Process| {
        let folder = format!("/proc/{}/task", broker.pid());
        let names = fs::read_dir(folder).expect("threads").map(|thread| {
            let thread = thread.expect("a thread").path();
            fs::read_to_string(thread.join("comm")).unwrap_or_default()
        });
        names.map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    };
    let manager = ServiceManager::start();
    let start = |socket: &Path| {
        let mut command = TestBroker::command(&[]);
        Process::start(command.env("NOTIFY_SOCKET", socket))
    };
    let told = start(&manager.path());
    eventually("the thread for it runs", || {
        threads(&told).contains(&"service".to_owned())
    });
    // Empty counts as unset, as with all variables.
    let alone = start(Path::new(""));
    eventually("the broker accepts", || {
        threads(&alone).contains(&"accept".to_owned())
    });
    assert!(!threads(&alone).contains(&"service".to_owned()));
}

/// Copies of the units that start the program of this workspace.
fn units() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["dallal.service", "dallal.socket"] {
        let unit = fs::read_to_string(Path::new(UNITS).join(name)).expect("a unit");
        let broker = program("broker");
        let unit = unit.replace("/usr/sbin/dallal-broker", broker.to_str().expect("text"));
        fs::write(folder.path().join(name), unit).expect("room");
    }
    folder
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn the_units_are_valid() {
    let folder = units();
    let mut command = installed("systemd-analyze", "systemd");
    command.args(["verify", "--man=no"]);
    for name in ["dallal.service", "dallal.socket"] {
        command.arg(folder.path().join(name));
    }
    assert_eq!(succeeds(&mut command), "");
}

#[test]
fn the_service_is_exposed_to_little() {
    let mut command = installed("systemd-analyze", "systemd");
    command.args(["security", "--offline=true", "--threshold=12"]);
    let said = succeeds(command.arg(Path::new(UNITS).join("dallal.service")));
    assert!(said.contains("CapabilityBoundingSet"), "{said}");
}

#[test]
fn the_user_of_the_service_is_made_by_systemd() {
    let root = tempfile::tempdir().expect("a folder");
    let mut command = installed("systemd-sysusers", "systemd");
    command.args(["--dry-run", "--root"]).arg(root.path());
    let said = succeeds(command.arg(Path::new(UNITS).join("dallal.sysusers")));
    assert!(said.contains("Creating user 'dallal'"), "{said}");
    let unit = fs::read_to_string(Path::new(UNITS).join("dallal.service")).expect("a unit");
    assert!(unit.contains("\nUser=dallal\nGroup=dallal\n"));
}
