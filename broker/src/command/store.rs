//! `broker store ...`: the store of a broker is checked, repaired, exported, and filled from a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{
    ImportError, KeepRule, KeptTrial, StoreChanges, StoreError, StoreReport, StoreTool,
    StoredMessages, back_up_store, import_into_store, look_at_store, read_log, repair_store,
    try_rules,
};
use bytesize::ByteSize;
use command_line::recording::{self, RecordedEvent, RecordedLine};
use command_line::shell_word;
use protocol::{Filter, MessageLine, PastStart, Topic, decode_spaces};

/// Exit code of a store that is damaged.
const DAMAGED: u8 = 4;

/// Exit code of a store that a newer broker has written.
const NEWER: u8 = 5;

/// Maximum bytes of a line of an import: no broker takes a longer message.
const LINE_BYTES: u64 = 1 << 30;

/// Files in `damaged/` that are listed.
const MOST_LISTED: usize = 20;

/// Why a tool has not done what it was told to.
#[derive(Debug)]
pub(super) struct StoreFailure {
    pub(super) why: String,
    pub(super) code: ExitCode,
}

/// What a tool prints, and its exit code.
type ToolDone = Result<(String, ExitCode), StoreFailure>;

/// Runs the tool.
pub(super) fn run(tool: &StoreTool) -> ToolDone {
    match tool {
        StoreTool::Check {
            folder,
            keep,
            instead_of,
        } => check(folder, keep, instead_of),
        StoreTool::Backup { folder, to } => back_up(folder, to),
        StoreTool::Repair { folder } => repair(folder),
        StoreTool::Export {
            folder,
            filters,
            since: None,
            ..
        } => export(folder, filters),
        StoreTool::Export {
            folder,
            filters,
            since: Some(start),
            keep,
        } => export_log(folder, filters, keep, *start),
        StoreTool::Import { folder, file } => import(folder, file),
    }
}

fn check(folder: &Path, rules: &[KeepRule], before: &[KeepRule]) -> ToolDone {
    let found = look_at_store(folder).map_err(|why| failed(folder, &why))?;
    let (report, messages) = found.ok_or_else(|| no_store(folder))?;
    let mut text = format!("store: {}\n", folder.display());
    write_contents(&mut text, &report, &messages);
    if messages.unreadable() > 0 {
        let records = count(messages.unreadable(), "change");
        let _ = writeln!(text, "unreadable: {records}, whose checksums are right");
    }
    write_faults(&mut text, &report);
    if !rules.is_empty() {
        let tried = try_rules(folder, rules, before).map_err(|why| failed(folder, &why))?;
        write_trial(&mut text, &tried.ok_or_else(|| no_store(folder))?);
    }
    let is_damaged = report.is_damaged();
    text += &match is_damaged {
        true => format!(
            "state: damaged; to mend it: broker store repair {}\n",
            shell_word(folder)
        ),
        false => "state: sound\n".to_owned(),
    };
    Ok((text, code(is_damaged)))
}

fn write_trial(text: &mut String, trial: &KeptTrial) {
    let _ = writeln!(
        text,
        "with these rules: {} in {}",
        count(trial.messages, "message"),
        count(trial.topics as u64, "topic")
    );
    for loss in &trial.losses {
        let topic = decode_spaces(&loss.topic);
        let (topic, lost, all) = (topic.escape_debug(), loss.lost, loss.messages);
        let _ = writeln!(text, "would be lost: {lost} of {all} on {topic}");
    }
    if let [_, _, ..] = &trial.losses[..] {
        let lost = trial.losses.iter().map(|loss| loss.lost).sum();
        let _ = writeln!(text, "would be lost: {} in all", count(lost, "message"));
    }
}

fn back_up(folder: &Path, to: &Path) -> ToolDone {
    let copied = back_up_store(folder, to).map_err(|why| failed(folder, &why))?;
    let (report, messages) = copied.ok_or_else(|| no_store(folder))?;
    let mut text = format!("store: {}\ncopy: {}\n", folder.display(), to.display());
    write_contents(&mut text, &report, &messages);
    write_faults(&mut text, &report);
    let is_damaged = report.is_damaged();
    text += match is_damaged {
        true => "state: damaged, as it is in the store\n",
        false => "state: sound\n",
    };
    Ok((text, code(is_damaged)))
}

fn write_counts(text: &mut String, messages: &StoredMessages) {
    let _ = writeln!(text, "retained messages: {}", messages.count());
    let _ = writeln!(text, "sessions: {}", messages.sessions());
}

fn write_contents(text: &mut String, report: &StoreReport, messages: &StoredMessages) {
    if let Some(identity) = &report.identity {
        let ended = match identity.is_clean {
            true => "ended cleanly",
            false => {
                "not ended cleanly: it was killed, or a broker has it now and these figures may be a moment old"
            }
        };
        let (id, generation) = (&identity.id, identity.generation);
        let _ = writeln!(text, "id: {id}, generation {generation}, {ended}");
    }
    let segments = count(report.segments as u64, "segment");
    let changes = match report.changes.is_empty() {
        true => "no changes".to_owned(),
        false => format!(
            "changes {} to {}",
            report.changes.start,
            report.changes.end - 1
        ),
    };
    let _ = writeln!(
        text,
        "log: {segments}, {}, {changes}",
        ByteSize(report.bytes)
    );
    let snapshots = match &report.snapshots[..] {
        [] => "none".to_owned(),
        all => {
            let numbers = all.iter().map(|snapshot| snapshot.number.to_string());
            format!("at change {}", numbers.collect::<Vec<_>>().join(" and "))
        }
    };
    let _ = writeln!(text, "snapshots: {snapshots}");
    write_counts(text, messages);
    for (name, bytes) in report.kept_aside.iter().take(MOST_LISTED) {
        // Others may have put a file there.
        let name = name.escape_debug();
        let _ = writeln!(text, "kept aside: damaged/{name}, {}", ByteSize(*bytes));
    }
    let more = report.kept_aside.len().saturating_sub(MOST_LISTED);
    if more > 0 {
        let _ = writeln!(
            text,
            "kept aside: {} more in damaged/",
            count(more as u64, "file")
        );
    }
}

fn write_faults(text: &mut String, report: &StoreReport) {
    if report.identity.is_none() {
        *text +=
            "damaged: format is missing or cannot be read; a start gives the store another id\n";
    }
    if report.is_secret_lost {
        *text += "damaged: the secret of the frames is lost with format; what cannot be read may be sound, and a start \
                  keeps it in damaged/\n";
    }
    for snapshot in report
        .snapshots
        .iter()
        .filter(|snapshot| !snapshot.is_sound)
    {
        let _ = writeln!(
            text,
            "damaged: {} is not as it was written; a start does without it",
            snapshot.file
        );
    }
    for place in &report.damage {
        let word = if place.is_settled() {
            "settled"
        } else {
            "damaged"
        };
        let what = match (place.is_spare, place.lost) {
            (true, _) => "nothing is lost, because the last snapshot has what was there".to_owned(),
            (false, 1) => "1 change is lost".to_owned(),
            (false, lost) => format!("{lost} changes are lost"),
        };
        let _ = match place.bytes {
            0 => writeln!(
                text,
                "{word}: what came before {} is missing; {what}",
                place.file
            ),
            bytes => writeln!(
                text,
                "{word}: {} from byte {} on, {bytes} bytes are not what was written; {what}",
                place.file, place.at
            ),
        };
    }
    let more = report.damages - report.damage.len();
    if more > 0 {
        let _ = writeln!(text, "damaged: {more} more places");
    }
    if report.lost > 0 {
        let _ = writeln!(text, "lost: {} in all", count(report.lost, "change"));
    }
    if let Some(tail) = &report.tail {
        let _ = writeln!(
            text,
            "not durable: {} ends at byte {}, with {} bytes behind that were never made durable; normal after a power \
             cut, and while a broker writes",
            tail.file, tail.at, tail.bytes
        );
    }
}

fn repair(folder: &Path) -> ToolDone {
    let repaired = repair_store(folder).map_err(|why| failed(folder, &why))?;
    let repaired = repaired.ok_or_else(|| no_store(folder))?;
    let mut text = format!("store: {}\n", folder.display());
    write_faults(&mut text, &repaired.before);
    for name in &repaired.kept_aside {
        let _ = writeln!(text, "kept aside: {name}");
    }
    write_counts(&mut text, &repaired.messages);
    text += match repaired.before.is_damaged() {
        true => "state: sound, with a snapshot of all that was\n",
        false => "state: sound, as it was\n",
    };
    Ok((text, ExitCode::SUCCESS))
}

fn export(folder: &Path, filters: &[String]) -> ToolDone {
    let found = look_at_store(folder).map_err(|why| failed(folder, &why))?;
    let (report, messages) = found.ok_or_else(|| no_store(folder))?;
    warn_of_damage(folder, &report);
    let mut exported = Exported::new(filters);
    for line in messages.lines(now_ms()) {
        let message = MessageLine::decode(&line).expect("it was read as one");
        if exported.is_wanted(message.topic) {
            exported.write(Duration::ZERO, &message);
        }
    }
    exported.end(&report)
}

fn export_log(folder: &Path, filters: &[String], rules: &[KeepRule], start: PastStart) -> ToolDone {
    let mut exported = Exported::new(filters);
    let mut begun_ms = None;
    let read = read_log(folder, rules, start, &mut |message| {
        if exported.is_wanted(message.line.topic) {
            let begun_ms = *begun_ms.get_or_insert(message.time_ms);
            let offset = Duration::from_millis(message.time_ms.saturating_sub(begun_ms));
            exported.write(offset, &message.line);
        }
    });
    let read = read.map_err(|why| failed(folder, &why))?;
    let read = read.ok_or_else(|| no_store(folder))?;
    if !read.is_complete {
        let _ = writeln!(
            io::stderr(),
            "{}: some is missing of what was asked for: the position is not of this store, or the log begins behind it",
            folder.display()
        );
    }
    warn_of_damage(folder, &read.report);
    exported.end(&read.report)
}

/// The exit code tells as well.
fn warn_of_damage(folder: &Path, report: &StoreReport) {
    if report.is_damaged() {
        let _ = writeln!(
            io::stderr(),
            "{} is damaged, and this is all that is sound; what is wrong: broker store check {}",
            folder.display(),
            shell_word(folder)
        );
    }
}

/// Messages on standard output.
struct Exported<'f> {
    filters: Vec<Filter<'f>>,
    out: BufWriter<StdoutLock<'static>>,
    written: io::Result<()>,
}

impl<'f> Exported<'f> {
    fn new(filters: &'f [String]) -> Self {
        let filters = filters.iter();
        Self {
            filters: filters
                .map(|text| Filter::parse(text).expect("it was checked"))
                .collect(),
            out: BufWriter::new(io::stdout().lock()),
            written: Ok(()),
        }
    }

    fn is_wanted(&self, topic: Topic<'_>) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// Writes a message, if all before it were written.
    fn write(&mut self, offset: Duration, message: &MessageLine<'_>) {
        let (topic, attributes) = (message.topic, &message.attributes);
        if self.written.is_ok() {
            let payload = message.payload.unescape();
            let out = &mut self.out;
            self.written = recording::write_message(out, offset, topic, &payload, attributes);
        }
    }

    fn end(mut self, report: &StoreReport) -> ToolDone {
        match self.written.and_then(|()| self.out.flush()) {
            // Whatever reads it has enough.
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
                Err(failure(format!("standard output takes nothing: {why}")))
            }
            _ => Ok((String::new(), code(report.is_damaged()))),
        }
    }
}

fn import(folder: &Path, path: &Path) -> ToolDone {
    let name = match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let cannot_read = |why| failure(format!("{name} cannot be read: {why}; nothing is imported"));
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(cannot_read)?),
    };
    let read = read_all(BufReader::new(input)).map_err(|(line, why)| match why {
        LineFailure::Input(why) => cannot_read(why),
        LineFailure::Line(why) => {
            failure(format!("{name}, line {line}: {why}; nothing is imported"))
        }
    })?;
    let done = import_into_store(folder, &read.changes).map_err(|why| match why {
        ImportError::Store(why) => failed(folder, &why),
        why => failure(format!("{}: {why}", folder.display())),
    })?;
    if done.lost > 0 {
        // It is no failure of the import.
        let _ = writeln!(
            io::stderr(),
            "{} was damaged before: {} lost",
            folder.display(),
            count(done.lost, "change")
        );
    }
    for name in &done.kept_aside {
        let _ = writeln!(io::stderr(), "kept aside: {}", folder.join(name).display());
    }
    let mut text = format!(
        "{} retained, {} cleared, from {}\n",
        count(done.retained as u64, "message"),
        done.cleared,
        count(read.lines, "line"),
    );
    match read.gaps {
        0 => {}
        1 => text += "1 line tells of missing messages\n",
        gaps => {
            let _ = writeln!(text, "{gaps} lines tell of missing messages");
        }
    }
    Ok((text, ExitCode::SUCCESS))
}

/// All lines of a file.
#[derive(Default)]
struct ReadLines {
    changes: StoreChanges,
    lines: u64,
    /// Lines that tell of missing messages.
    gaps: u64,
}

enum LineFailure {
    Input(io::Error),
    Line(String),
}

/// Reads a file to its end. A failure has the number of its line.
fn read_all(mut input: impl BufRead) -> Result<ReadLines, (u64, LineFailure)> {
    let mut read = ReadLines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let number = read.lines + 1;
        let fail = |why| (number, why);
        let mut limited = (&mut input).take(LINE_BYTES + 1);
        let bytes = limited.read_until(b'\n', &mut line);
        match bytes.map_err(|why| fail(LineFailure::Input(why)))? as u64 {
            0 => return Ok(read),
            bytes if bytes > LINE_BYTES => {
                let why = format!("it is longer than {}", ByteSize(LINE_BYTES));
                return Err(fail(LineFailure::Line(why)));
            }
            _ => read.lines = number,
        }
        let content = line.strip_suffix(b"\n").unwrap_or(&line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let taken = take_line(content, &mut read);
        taken.map_err(|why| fail(LineFailure::Line(why)))?;
    }
}

fn take_line(line: &[u8], read: &mut ReadLines) -> Result<(), String> {
    match RecordedLine::parse(line)
        .map_err(|why| why.to_string())?
        .event
    {
        RecordedEvent::Gap(_) => read.gaps += 1,
        RecordedEvent::Message {
            topic,
            payload,
            attributes,
        } => {
            let topic = Topic::parse(&topic).expect("it was read as one");
            let kept = read.changes.retain(topic, &payload, &attributes);
            kept.map_err(|why| why.to_string())?;
        }
    }
    Ok(())
}

/// `1 change`, `2 changes`.
fn count(number: u64, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

fn code(is_damaged: bool) -> ExitCode {
    match is_damaged {
        true => ExitCode::from(DAMAGED),
        false => ExitCode::SUCCESS,
    }
}

fn failure(why: String) -> StoreFailure {
    StoreFailure {
        why,
        code: ExitCode::FAILURE,
    }
}

fn no_store(folder: &Path) -> StoreFailure {
    let folder = folder.display();
    failure(format!("{folder} has no store; name the folder of --data"))
}

fn failed(folder: &Path, why: &StoreError) -> StoreFailure {
    let folder = folder.display();
    let (why, code) = match why {
        StoreError::Locked => (
            "a broker has it; stop that one first".to_owned(),
            ExitCode::FAILURE,
        ),
        StoreError::Newer(version) => {
            let why =
                format!("a newer broker has written it, in format {version:?}; take that one");
            (why, ExitCode::from(NEWER))
        }
        StoreError::Io(why) => (why.to_string(), ExitCode::FAILURE),
    };
    StoreFailure {
        why: format!("{folder}: {why}"),
        code,
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a file, or the number of the line that is wrong and why.
    fn read(text: &[u8]) -> Result<(usize, u64, u64), (u64, String)> {
        match read_all(text) {
            Ok(read) => Ok((read.changes.count(), read.lines, read.gaps)),
            Err((line, LineFailure::Line(why))) => Err((line, why)),
            Err((line, LineFailure::Input(why))) => Err((line, why.to_string())),
        }
    }

    #[test]
    fn each_line_is_a_message_or_tells_of_missing_ones() {
        let message = r#"{"offset_us":0,"topic":"a b","payload":"1","retained":true}"#;
        let gap = r#"{"offset_us":7,"gap":3}"#;
        let clear = r#"{"offset_us":0,"topic":"c","payload":""}"#;
        let text = format!("{message}\r\n{gap}\n{clear}\n{message}");
        assert_eq!(read(text.as_bytes()), Ok((2, 4, 1)));
        assert_eq!(read(b""), Ok((0, 0, 0)));
    }

    #[test]
    fn a_line_that_cannot_be_taken_is_named() {
        let good = r#"{"offset_us":0,"topic":"a","payload":"1"}"#;
        for (bad, expected) in [
            ("", "this is not JSON"),
            ("x", "this is not JSON"),
            (r#"{"topic":"a","payload":"1"}"#, "offset_us should be"),
            (
                r#"{"offset_us":0,"topic":"$SYS/a","payload":"1"}"#,
                "topics under $SYS/",
            ),
        ] {
            let text = format!("{good}\n{bad}\n{good}\n");
            let (line, why) = read(text.as_bytes()).expect_err(bad);
            assert_eq!(line, 2, "{bad}");
            assert!(why.contains(expected), "{bad}: {why}");
        }
    }

    #[test]
    fn things_are_counted_in_words() {
        let counted = [0, 1, 2].map(|number| count(number, "change"));
        assert_eq!(counted, ["0 changes", "1 change", "2 changes"]);
    }
}
