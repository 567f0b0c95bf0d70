//! No two files of a crate need each other, also not through others. How imports are counted is
//! said in `tests/src/source/modules.rs`.

use tests::source::{Modules, circles};

use crate::none;

/// Each crate by its name and by the folder of its `lib.rs` or `main.rs`.
const CRATES: [(&str, &str); 8] = [
    ("protocol", "protocol/src"),
    ("command-line", "protocol/command-line/src"),
    ("broker", "broker/src"),
    ("client", "client/src"),
    ("tests", "tests/src"),
    ("peers", "tests/examples/peers"),
    ("measure", "tests/examples/measure"),
    ("house", "tests/tests/house"),
];

#[test]
fn no_two_files_need_each_other() {
    let mut faults = Vec::new();
    for (name, folder) in CRATES {
        for circle in circles(&Modules::read(name, folder).imports()) {
            faults.push(format!("in {folder}:"));
            faults.extend(circle.iter().map(|import| format!("  {import}")));
        }
    }
    none(
        "files must not need each other; move what both need into a file below them",
        faults,
    );
}
