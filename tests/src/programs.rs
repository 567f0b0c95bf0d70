//! Where the programs are that the tests start.
//!
//! Cargo does not build the programs of another package for a test. So the first test of a process
//! has them built, unless `TESTS_PROGRAMS_BUILT` says that this was done.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");

/// A program of this workspace, of the same profile as the test: `broker` or `client`.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let bins = || built(&["--bin", "broker", "--bin", "client"]);
    let program = FOLDER.get_or_init(bins).join(name);
    assert!(
        program.is_file(),
        "there is no {}; run `cargo build --bin {name}`",
        program.display()
    );
    program
}

/// A program under `tests/examples`, of the same profile as the test: `peers` or `relay`.
pub fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let examples = || {
        built(&[
            "--package",
            "tests",
            "--example",
            "peers",
            "--example",
            "relay",
        ])
    };
    let program = FOLDER.get_or_init(examples).join("examples").join(name);
    assert!(
        program.is_file(),
        "there is no {}; run `cargo build --package tests --example {name}`",
        program.display()
    );
    program
}

/// A program that has to be installed, from the Debian package of that name.
#[track_caller]
pub fn installed(name: &str, package: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        found,
        "{name} is needed; install the Debian package {package}"
    );
    Command::new(name)
}

/// Where cargo puts programs; those that it is told to build are built then.
fn built(targets: &[&str]) -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a test lies in <target>/<profile>/deps");
    if env::var_os("TESTS_PROGRAMS_BUILT").is_none() {
        let target = folder.parent().expect("a profile has a folder of its own");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // What cargo tells a test of its package, `ring` takes for a reason to be built again.
        let of_test =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in env::vars().filter(|(name, _)| of_test(name)) {
            build.env_remove(name);
        }
        let built = build
            .args(["build", "--quiet"])
            .args(targets)
            .args(["--manifest-path", MANIFEST, "--profile", profile])
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo can be run");
        assert!(built.success(), "the programs cannot be built: {built}");
    }
    folder.to_owned()
}
