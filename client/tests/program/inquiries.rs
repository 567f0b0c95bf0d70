//! The commands that ask the broker about itself.

use crate::run::{Ended, Run, end};
use crate::scripted::ScriptedBroker;

/// Runs a command to its end. The broker expects each `request`, which may begin with attributes
/// before the two of every request, and sends its answer.
fn ask(arguments: &str, script: &[(&str, &str)]) -> Ended {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, arguments);
    run.end_input();
    let mut peer = broker.accept();
    let line = String::from_utf8(peer.line()).expect("text");
    let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    peer.say(&format!("SUBACK {topic}"));
    for (number, (request, answer)) in (1..).zip(script) {
        let (attributes, request) = request.split_once("PUBLISH").expect("a PUBLISH");
        peer.expect(&format!(
            "@{attributes}reply={topic};id={number} PUBLISH{request}"
        ));
        if let Some(refused) = answer.strip_prefix("ERROR ") {
            peer.say(&format!("ERROR {refused}"));
            peer.say(&format!("PUBACK {number} 0"));
        } else {
            peer.say(&format!("@id={number} MESSAGE {topic} {answer}"));
            peer.say(&format!("PUBACK {number} 1"));
        }
    }
    run.end()
}

const TOPICS: &str = concat!(
    r#"{"total":2,"topics":[{"topic":"attic","messages":12345,"copies":0,"rate":0.5,"#,
    r#""last_s":75.5,"subscribers":0,"retained":null},{"topic":"home/"#,
    "\u{9b}",
    r#"31m","messages":7,"copies":14,"rate":1.25,"last_s":0.25,"subscribers":2,"retained":2048}]}"#
);

#[test]
fn a_list_is_a_table_that_no_name_in_it_can_break() {
    let ended = ask(
        "topics",
        &[("limit=1000;PUBLISH $SYS/request/topics", TOPICS)],
    );
    ended.expect(0, "");
    ended.expect_out(
        "topic      messages   rate  copies  subscribers   last  retained\n\
         attic         12.3k  0.5/s       0            0     1m         -\n\
         home/\u{fffd}31m         7  1.2/s      14            2  250ms   2.0 KiB\n",
    );
}

#[test]
fn a_list_can_be_sorted_and_cut() {
    let ended = ask(
        "topics home/# --sort rate --limit 1 --json",
        &[("limit=100000;PUBLISH $SYS/request/topics home/#", TOPICS)],
    );
    ended.expect(
        0,
        "client: these are 1 of 2 topics; give --limit for more, or a filter\n",
    );
    ended.expect_out(
        "{\"topic\":\"home/\\u009b31m\",\"messages\":7,\"copies\":14,\"rate\":1.25,\"last_s\":0.25,\
         \"subscribers\":2,\"retained\":2048}\n",
    );
}

#[test]
fn an_empty_list_says_so() {
    let without = r#"{"total":0,"filters":[]}"#;
    let ended = ask(
        "filters",
        &[("limit=1000;PUBLISH $SYS/request/filters", without)],
    );
    ended.expect(0, "client: there is no filter\n");
    ended.expect_out("");
}

#[test]
fn a_column_that_is_none_is_refused_with_those_that_are() {
    let ended = end("who --sort size");
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("waiting"), "{}", ended.err);
}

#[test]
fn a_broker_that_answers_no_inquiries_is_told_from_others() {
    let ended = ask(
        "who",
        &[(
            "limit=1000;PUBLISH $SYS/request/who",
            "ERROR denied publish:1 publish elsewhere",
        )],
    );
    ended.expect(
        4,
        "client: this broker does not answer the inquiry `who`: publish elsewhere (denied publish:1)\n",
    );
}

/// A ledger in which only these figures differ from zero.
fn account(exact: bool, written: u64) -> String {
    format!(
        "{{\"balanced\":{},\"exact\":{exact},\"published\":3,\"matched\":2,\"unmatched\":1,\
         \"kept\":0,\"refused\":0,\"copies\":4,\"written\":{written},\"waiting\":0,\"dropped\":{{}},\
         \"discarded\":0,\"withdrawn\":0}}",
        written == 4
    )
}

const AUDIT: &str = "PUBLISH $SYS/request/audit";

#[test]
fn a_ledger_that_balances_is_a_success() {
    let ended = ask("audit", &[(AUDIT, &account(true, 4))]);
    ended.expect(0, "");
    assert_eq!(ended.err, "");
    let ended = ask("audit --json", &[(AUDIT, &account(true, 4))]);
    ended.expect_out(&format!("{}\n", account(true, 4)));
}

#[test]
fn a_ledger_that_does_not_balance_has_an_exit_code_of_its_own() {
    let ended = ask("audit", &[(AUDIT, &account(true, 3))]);
    ended.expect(7, "client: the ledger does not balance; please report it");
}

#[test]
fn figures_that_are_not_exact_are_asked_for_again() {
    let (moving, still) = (account(false, 3), account(true, 4));
    let again = "client: messages moved while they were counted; asking again\n";
    let ended = ask("audit", &[(AUDIT, &moving), (AUDIT, &still)]);
    ended.expect(0, again);
    let ended = ask("audit", &[(AUDIT, moving.as_str()); 3]);
    ended.expect(7, &again.repeat(2));
    let out = String::from_utf8_lossy(&ended.out).into_owned();
    assert!(out.contains("Not exact: "), "{out}");
}

#[test]
fn a_screen_is_not_filled_where_there_is_none() {
    let ended = end("top");
    ended.expect(2, "this needs a terminal; give --once");
}

#[test]
fn the_exit_code_of_why_says_whether_there_are_subscribers() {
    let request = "PUBLISH $SYS/request/why a/b";
    let without = r#"{"topic":"a/b","matching":[],"near":[],"retained":null,"seen":null}"#;
    let ended = ask("why a/b", &[(request, without)]);
    ended.expect(1, "");
    assert_eq!(ended.err, "");
    ended.expect_out(
        "Nobody gets a/b: no filter matches it.\n\
         To get it, type: client subscribe a/b\n\n\
         Nothing has been published there, as far as the broker remembers.\n\
         Nothing is retained there.\n",
    );
    let ended = ask("why a/b --json", &[(request, without)]);
    ended.expect(1, "");
    ended.expect_out(&format!("{without}\n"));
    let many = without.replace(
        "[],\"near\"",
        r##"[{"filter":"#","holders":[],"total":9}],"near""##,
    );
    ask("why a/b", &[(request, &many)]).expect(0, "");
}

const KEPT: &str = concat!(
    r#"{"total":2,"bytes":2100,"max_count":1000,"max_bytes":1048576,"retained":["#,
    r#"{"topic":"a","bytes":3,"age_s":90.5},{"topic":"b","bytes":2048,"age_s":1.0}]}"#
);

#[test]
fn retained_messages_are_listed_with_the_room_they_take() {
    let request = "limit=100000;PUBLISH $SYS/request/retained";
    let ended = ask("retained ls --sort size", &[(request, KEPT)]);
    ended.expect(
        0,
        "client: 2 retained messages; the broker keeps at most 1,000, \
         and all it keeps take 2.1 KiB of 1.0 MiB\n",
    );
    ended.expect_out("topic     size  age\nb      2.0 KiB   1s\na          3 B   1m\n");
}

#[test]
fn topics_that_keep_messages_are_listed_by_any_column() {
    let request = "limit=100000;PUBLISH $SYS/request/kept chat/#";
    let answer = concat!(
        r#"{"total":2,"messages":1020,"bytes":3000,"max_topics":9,"kept":[{"topic":"chat/a","messages":20,"bytes":900,"#,
        r#""oldest":"k3f9.1:7","newest":"k3f9.2:40","age_s":7201.5},{"topic":"chat/b","messages":1000,"bytes":2100,"#,
        r#""oldest":"k3f9.1:1","newest":"k3f9.2:39","age_s":null}]}"#
    );
    let ended = ask("kept chat/# --sort messages", &[(request, answer)]);
    ended.expect(
        0,
        "client: 1,020 messages in 2 topics, 2.9 KiB; the broker keeps those of at most 9 topics\n",
    );
    ended.expect_out(
        "topic   messages     size  age  oldest    newest\n\
         chat/b     1,000  2.1 KiB    -  k3f9.1:1  k3f9.2:39\n\
         chat/a        20    900 B   2h  k3f9.1:7  k3f9.2:40\n",
    );
}

#[test]
fn retained_messages_are_cleared_all_at_once() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "retained rm # --yes");
    run.end_input();
    let mut peer = broker.accept();
    let line = String::from_utf8(peer.line()).expect("text");
    let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    peer.say(&format!("SUBACK {topic}"));
    let request = format!("@limit=100000;reply={topic};id=1 PUBLISH $SYS/request/retained #");
    peer.expect(&request);
    peer.say(&format!("@id=1 MESSAGE {topic} {KEPT}"))
        .say("PUBACK 1 1");
    peer.expect("@retain PUBLISH a").expect("@retain PUBLISH b");
    peer.say("PUBACK 3 0");
    run.end().expect(0, "cleared 2 retained messages\n");
}

#[test]
fn without_a_terminal_nothing_is_cleared_unless_it_is_said_twice() {
    let ended = end("retained rm #");
    ended.expect(2, "give --yes to clear them without a question");
}
