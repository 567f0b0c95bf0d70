//! Promises of `docs/web.md` on the page, held in a real Chromium. Its pictures are left in
//! `target/tmp/page` to be looked at.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tests::{Browser, Process, Tab, TestBroker, client_of};

fn address(broker: &TestBroker, path: &str) -> String {
    format!("http://localhost:{}{path}", broker.address().port())
}

#[track_caller]
fn enter(browser: &Browser, broker: &TestBroker, room: &str, nick: &str) -> Tab {
    let mut tab = browser.open(&address(broker, &format!("/chat?room={room}&nick={nick}")));
    tab.wait_for_text(&format!("You are {nick} in {room}."));
    tab
}

/// A live view that is subscribed.
#[track_caller]
fn watch(browser: &Browser, broker: &TestBroker) -> Tab {
    let mut tab = browser.open(&address(broker, "/#live"));
    tab.wait_for(
        "document.querySelector('#clients').innerText.includes('live view\\twebsocket\\t1')",
    );
    tab
}

#[track_caller]
fn say(tab: &mut Tab, text: &str) {
    tab.type_into("#text", text);
    tab.press("Enter");
}

fn picture(tab: &mut Tab, name: &str) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).expect("a folder for pictures");
    for (size, width, height) in [("phone", 390, 780), ("desktop", 1280, 800)] {
        for scheme in ["light", "dark"] {
            tab.look(width, height, scheme);
            tab.picture(&folder.join(format!("{name}-{size}-{scheme}.png")));
        }
    }
}

#[test]
fn two_tabs_talk_and_a_third_in_another_room_hears_nothing() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = browser.open(&address(&broker, "/"));
    ann.wait_for("document.activeElement.id === 'nick'");
    picture(&mut ann, "entrance");
    ann.type_into("#nick", "a b");
    ann.press("Enter");
    ann.wait_for_text("without space");
    ann.eval("document.querySelector('#nick').value = ''");
    ann.type_into("#nick", "ann");
    ann.press("Enter");
    ann.wait_for_text("You are ann in lobby.");
    let mut bob = enter(&browser, &broker, "lobby", "bob");
    let mut eve = enter(&browser, &broker, "attic", "eve");
    ann.wait_for_text("bob joined");
    bob.wait_for("document.querySelectorAll('#people li').length === 2");

    say(&mut ann, "good morning!");
    bob.wait_for_text("good morning!");
    ann.wait_for("!document.querySelector('.pending')");
    say(&mut bob, "صباح الخير، كيف الحال؟");
    ann.wait_for_text("صباح الخير");
    // Netcat is in the room as well.
    let mut netcat = broker.connect();
    netcat
        .send("PUBLISH lobby hello from netcat")
        .expect("PUBACK 1 2");
    ann.wait_for_text("hello from netcat");

    bob.click("#people li:first-child button");
    say(&mut bob, "psst");
    ann.wait_for("document.querySelector('#log .private')?.innerText.includes('psst')");
    ann.wait_for("document.querySelector('#log .private .nick').innerText === 'bob → ann'");
    picture(&mut ann, "room");

    let heard = eve.eval("document.querySelector('#log').innerText");
    assert_eq!(heard, "You are eve in attic.");
    let people = eve.eval("document.querySelector('#people').innerText");
    assert_eq!(people, "eve (you)");
    eve.click("#leave");
    bob.click("#leave");
    ann.wait_for_text("bob left");
    for tab in [&mut ann, &mut bob, &mut eve] {
        assert_eq!(tab.complaints(), Vec::<String>::new());
    }
}

#[test]
fn the_page_writes_both_pairs_of_keys_and_reads_either() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    let mut netcat = broker.connect();
    netcat
        .send("SUBSCRIBE lobby $private/bob/lobby")
        .read_to_fence();
    for (input, topic) in [("hi", "lobby"), ("/msg bob hi", "$private/bob/lobby")] {
        say(&mut ann, input);
        let heard = netcat.read_line();
        let both = r#"{"nick":"ann","message":"hi","user":"ann","say":"hi"}"#;
        let said = format!(" MESSAGE {topic} {both}");
        assert!(heard.ends_with(&said), "{heard}");
    }
    for (payload, nick, text) in [
        (r#"{"nick":"bob","message":"one"}"#, "bob", "one"),
        (r#"{"user":"eve","say":"two"}"#, "eve", "two"),
        (
            r#"{"nick":7,"user":"eve","message":"three","say":"no"}"#,
            "eve",
            "three",
        ),
        (
            r#"{"user":"eve","x":"four"}"#,
            "?",
            r#"{"user":"eve","x":"four"}"#,
        ),
        ("five", "?", "five"),
    ] {
        netcat.send(format!("PUBLISH lobby {payload}"));
        ann.wait_for(&format!(
            "(row => row.querySelector('.nick')?.innerText === {nick:?}
                && row.querySelector('p').innerText === {text:?})(document.querySelector('#log').lastChild)"
        ));
    }
}

#[test]
fn a_private_message_to_a_name_without_a_client_is_known_to_have_reached_no_client() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    let mut netcat = broker.connect();
    netcat
        .send("@retain PUBLISH lobby/$who/ghost here")
        .expect("PUBACK 1 1");
    ann.wait_for_text("ghost joined");
    ann.click("#people li:last-child button");
    say(&mut ann, "are you there?");
    ann.wait_for_text("ghost is here but takes no private messages");
    netcat
        .send("@retain PUBLISH lobby/$who/ghost")
        .expect_prefix("PUBACK 2");
    ann.wait_for_text("ghost left");
    say(&mut ann, "and now?");
    ann.wait_for_text("Nobody called ghost is here");
}

#[test]
fn the_commands_of_the_chat_work_on_the_page() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    let mut bob = enter(&browser, &broker, "lobby", "bob");
    ann.wait_for_text("bob joined");
    say(&mut ann, "/who");
    ann.wait_for_text("2 in lobby: ann (you), bob");
    say(&mut ann, "/msg bob psst");
    bob.wait_for("document.querySelector('#log .private')?.innerText.includes('psst')");
    say(&mut ann, "/nick anna");
    ann.wait_for_text("You are now called anna.");
    bob.wait_for_text("ann is now called anna");
    bob.wait_for("document.querySelector('#people').innerText === 'anna\\nbob (you)'");
    ann.wait_for("document.querySelector('#people').innerText === 'anna (you)\\nbob'");
    say(&mut bob, "/msg anna still you?");
    ann.wait_for_text("still you?");
    say(&mut ann, "//etc is a folder");
    bob.wait_for("document.querySelector('#log').innerText.includes('\\n/etc is a folder')");
    say(&mut ann, "/me waves");
    ann.wait_for_text("There is no /me; there are /who,");
    say(&mut ann, "/help");
    ann.wait_for_text("/join ROOM: go to another room");
    say(&mut ann, "/msg bob");
    ann.wait_for_text("A part is missing: /msg NICK TEXT");
    say(&mut ann, "/nick a/b");
    ann.wait_for_text("without space, /, + and #");
    say(&mut ann, "/join attic");
    ann.wait_for_text("You are anna in attic.");
    bob.wait_for_text("anna left");
    assert_eq!(
        bob.eval("document.querySelector('#people-count').innerText"),
        "1 here"
    );
    say(&mut ann, "bye");
    ann.wait_for("document.activeElement.id === 'nick'");
    for tab in [&mut ann, &mut bob] {
        assert_eq!(tab.complaints(), Vec::<String>::new());
    }
}

#[test]
fn page_and_client_chat_agree_on_names_and_on_the_count_of_people() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    // The joiner is needed in Persian, and an @ is a letter as any other.
    for nick in ["@ann", "می‌خواهم"] {
        let mut chat = Process::start(&mut client_of(&broker, "chat", &["lobby", "--nick", nick]));
        chat.next_line();
        let mut ann = enter(&browser, &broker, "lobby", nick);
        // Both are told, and both are one person.
        chat.wait_for_line("another client here is called");
        ann.wait_for_text(&format!("Another client here is called {nick} too"));
        chat.write("/who\n");
        chat.wait_for_line(&format!("* 1 in lobby: {nick} (you)"));
        ann.wait_for("document.querySelector('#people-count').innerText === '1 here'");
        say(&mut ann, "/quit");
        ann.wait_for("document.activeElement.id === 'nick'");
        chat.write("/who\n");
        chat.wait_for_line(&format!("* 1 in lobby: {nick} (you)"));
        assert!(chat.end().0.success());
    }
}

#[test]
fn the_live_view_counts_no_retained_message_as_traffic() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut netcat = broker.connect();
    netcat
        .send("@retain PUBLISH lamp/kitchen on")
        .expect("PUBACK 1 0");
    let mut live = watch(&browser, &broker);
    live.wait_for_text("kitchen");
    // Two ticks of the view, and a line that would have moved.
    let ticks = "new Promise((done) => setTimeout(() => done(1), 2500))";
    live.eval(ticks);
    let lines = "[...document.querySelectorAll('.topic:not([hidden]) polyline')]\
                 .map((line) => line.getAttribute('points')).join('')";
    assert_eq!(live.eval(lines), "");
    netcat.send("PUBLISH lamp/kitchen off").expect("PUBACK 2 1");
    live.wait_for_text("/s");
}

#[test]
fn what_looks_like_markup_stays_text() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    let evil =
        "<script>document.title='got you'</script><img src=x onerror=\"document.title='got you'\">";
    let mut netcat = broker.connect();
    netcat
        .send(format!("PUBLISH lobby {evil}"))
        .expect("PUBACK 1 1");
    netcat.send(format!("@retain PUBLISH lobby/$who/<b>x</b> {evil}"));
    netcat.expect_prefix("PUBACK ");
    netcat
        .send("@retain PUBLISH lobby/$who/<i>x {}")
        .expect("PUBACK 3 1");
    ann.wait_for_text(evil);
    ann.wait_for_text("<i>x joined");
    assert_eq!(
        ann.eval("document.querySelectorAll('#log script, #log img, #log b, #log i').length"),
        0
    );
    assert_eq!(ann.eval("document.title"), "lobby · dallal");
    let mut live = watch(&browser, &broker);
    netcat
        .send(format!("@retain PUBLISH <b>x</b> {evil}"))
        .expect_prefix("PUBACK ");
    live.wait_for("document.querySelector('#topic-count').innerText !== '0'");
    live.wait_for_text(evil);
    assert_eq!(
        live.eval("document.querySelectorAll('#live script, #live img, #live b').length"),
        0
    );
}

#[test]
fn what_was_said_last_stays_in_sight_when_there_is_less_room() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    ann.look(1280, 800, "light");
    let mut netcat = broker.connect();
    for n in 0..60 {
        netcat.send(format!("PUBLISH lobby message {n}"));
    }
    let is_last_seen = "document.querySelector('#log > :last-child').getBoundingClientRect().bottom \
                        <= document.querySelector('#log').getBoundingClientRect().bottom";
    ann.wait_for_text("message 59");
    ann.wait_for(is_last_seen);
    // A phone, and then its keyboard.
    for (width, height) in [(390, 780), (390, 400), (1280, 800)] {
        ann.look(width, height, "light");
        ann.wait_for(is_last_seen);
    }
    // A reader that has scrolled back stays there. A scroll shows with the next frame.
    let frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))";
    ann.eval(frames);
    ann.eval("document.querySelector('#log').scrollTop = 100");
    ann.eval(frames);
    ann.look(1280, 700, "light");
    ann.wait_for("innerHeight === 700");
    ann.eval(frames);
    assert_eq!(ann.eval("document.querySelector('#log').scrollTop"), 100);
}

#[test]
fn a_page_comes_back_after_the_broker_has_and_says_so() {
    let (mut broker, browser) = (TestBroker::start(), Browser::start());
    let port = broker.address().port().to_string();
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    broker.stop();
    ann.wait_for_text("Connection lost");
    say(&mut ann, "written meanwhile");
    ann.wait_for("document.querySelector('.pending')");
    broker = TestBroker::with_args(&["--port", &port]);
    ann.wait_for_text("Back again");
    ann.wait_for("!document.querySelector('.pending')");
    let mut bob = enter(&browser, &broker, "lobby", "bob");
    say(&mut ann, "still here");
    bob.wait_for_text("still here");
}

#[test]
fn a_room_that_is_kept_shows_what_was_said_before_and_while_the_page_was_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path of text").to_owned();
    let flags = ["--data", &data, "--keep", "lobby=100"];
    let (first, browser) = (TestBroker::with_args(&flags), Browser::start());
    let mut netcat = first.connect();
    netcat.send("PUBLISH lobby one").expect("PUBACK 1 0");
    let mut ann = enter(&browser, &first, "lobby", "ann");
    ann.wait_for_text("one");
    netcat.send("PUBLISH lobby two").expect("PUBACK 2 1");
    ann.wait_for_text("two");
    let port = first.address().port().to_string();
    first.stop_by(Signal::KILL);
    let second = TestBroker::with_args(&[&flags[..], &["--port", &port]].concat());
    let mut netcat = second.connect();
    netcat
        .send("PUBLISH lobby three")
        .read_until_prefix("PUBACK 1 ");
    ann.wait_for_text("three");
    say(&mut ann, "four");
    ann.wait_for("[...document.querySelectorAll('#log p')].map((it) => it.innerText).join() === 'one,two,three,four'");
}

#[test]
fn the_live_view_shows_what_netcat_publishes_and_what_the_wire_says() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut live = watch(&browser, &broker);
    let mut netcat = broker.connect();
    netcat
        .send("NAME thermometer")
        .expect("NAMEACK thermometer");
    netcat
        .send("@retain PUBLISH sensors/attic/temperature 21.5")
        .expect_prefix("PUBACK ");
    live.wait_for_text("21.5");
    live.wait_for_text("thermometer");
    live.wait_for("document.querySelectorAll('.topic:not([hidden])').length === 3");
    live.click("#hand-subscribe button:not([type])");
    live.wait_for_text("SUBACK news/#");
    live.click("#hand-publish button");
    live.wait_for_text("PUBACK 1 2");
    let frames = live.eval("[...document.querySelectorAll('#frames li')].map((row) => row.className + ' ' + row.innerText).join('|')");
    let expected = "out SUBSCRIBE news/#|in SUBACK news/#|out PUBLISH news hello|in MESSAGE news hello|in PUBACK 1 2";
    assert_eq!(frames, expected);
    live.eval("document.querySelector('#why-topic').value = 'News'");
    live.click("#why button");
    live.wait_for_text("news/# nearly matches it");
    for n in 0..60 {
        netcat
            .send(format!("PUBLISH sensors/cellar/humidity {n}"))
            .expect_prefix("PUBACK ");
    }
    live.wait_for_text("/s");
    picture(&mut live, "live");
    assert_eq!(live.complaints(), Vec::<String>::new());
}

#[test]
fn ten_thousand_topics_and_many_messages_do_not_stop_it() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut live = watch(&browser, &broker);
    let mut netcat = broker.connect();
    let lines: String = (0..10_000)
        .map(|n| format!("PUBLISH house/{}/{n} {n}\n", n % 40))
        .collect();
    netcat.write(lines).read_until_prefix("PUBACK 10000 ");
    live.wait_for("document.querySelector('#topic-count').innerText === '10000'");
    let rows = live.eval("document.querySelectorAll('.topic').length");
    assert!(
        rows.as_u64().is_some_and(|rows| rows < 100),
        "{rows} rows are drawn"
    );
    live.type_into("#topic-filter", "/9999");
    live.wait_for_text("1 of 10000");
    live.wait_for_text("house/39/9999");
    let mut ann = enter(&browser, &broker, "lobby", "ann");
    for n in 0..2000 {
        netcat.send(format!("PUBLISH lobby message {n}"));
    }
    ann.wait_for_text("message 1999");
    let rows = ann.eval("document.querySelector('#log').childElementCount");
    assert!(
        rows.as_u64().is_some_and(|rows| rows <= 500),
        "{rows} rows are kept"
    );
}

#[test]
fn event_source_of_the_browser_listens() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut page = browser.open(&address(&broker, "/"));
    page.wait_for("document.activeElement.id === 'nick'");
    page.eval(
        "window.came = []; window.events = new EventSource('/topics/sensors/**'); \
         events.onmessage = (event) => came.push(JSON.parse(event.data).payload); \
         new Promise((done) => { events.onopen = () => done(1) })",
    );
    let mut netcat = broker.connect();
    for (n, payload) in (1..).zip(["21.5", "two\\nlines", "<b>"]) {
        netcat
            .send(format!("PUBLISH sensors/attic {payload}"))
            .expect(format!("PUBACK {n} 1"));
    }
    page.wait_for("came.length === 3");
    assert_eq!(page.eval("came.join('|')"), "21.5|two\nlines|<b>");
}

#[test]
fn event_source_of_the_browser_goes_on_after_the_broker_was_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path of text").to_owned();
    let flags = ["--data", &data, "--keep", "a/#=100"];
    let (first, browser) = (TestBroker::with_args(&flags), Browser::start());
    let mut page = browser.open(&address(&first, "/"));
    page.wait_for("document.activeElement.id === 'nick'");
    let mut netcat = first.connect();
    netcat.send("PUBLISH a/b 1").expect("PUBACK 1 0");
    page.eval(
        "window.came = []; window.events = new EventSource('/topics/a/**?last=10'); \
         events.onmessage = (event) => came.push(JSON.parse(event.data).payload); \
         events.addEventListener('current', () => window.current = came.length); 0",
    );
    page.wait_for("window.current === 1");
    netcat.send("PUBLISH a/b 2").expect("PUBACK 2 1");
    page.wait_for("came.length === 2");
    let port = first.address().port().to_string();
    first.stop_by(Signal::KILL);
    let second = TestBroker::with_args(&[&flags[..], &["--port", &port]].concat());
    let mut netcat = second.connect();
    netcat.send("PUBLISH a/b 3").read_until_prefix("PUBACK 1 ");
    page.wait_for("came.length === 3");
    netcat.send("PUBLISH a/b 4").read_until_prefix("PUBACK 2 ");
    page.wait_for("came.length === 4");
    assert_eq!(page.eval("came.join()"), "1,2,3,4");
}

#[test]
fn a_page_from_elsewhere_can_neither_publish_nor_read_nor_open_a_socket() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let elsewhere = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    // A page of another port is a page of another site.
    let mut page = browser.open(&address(&elsewhere, "/healthz"));
    page.wait_for_text("ok");
    let topic = address(&broker, "/topics/a");
    let posted = page.eval(&format!(
        "fetch('{topic}', {{ method: 'POST', mode: 'no-cors', body: 'PUBLISH a b\\n' }}).then((answer) => answer.type)"
    ));
    assert_eq!(posted, "opaque");
    for path in ["/topics/a?count=1&timeout=1s", "/api/clients", "/metrics"] {
        let path = address(&broker, path);
        let read = page.eval(&format!(
            "fetch('{path}').then(() => 'read', () => 'refused')"
        ));
        assert_eq!(read, "refused", "{path}");
    }
    let socket = format!("ws://localhost:{}/ws", broker.address().port());
    let opened = page.eval(&format!(
        "new Promise((done) => {{ const socket = new WebSocket('{socket}'); \
         socket.onopen = () => done('opened'); socket.onerror = () => done('refused'); }})"
    ));
    assert_eq!(opened, "refused");
    page.eval(&format!(
        "document.body.innerHTML = '<form method=post enctype=text/plain action=\"{topic}\"><input name=x value=y></form>'; \
         document.forms[0].submit()"
    ));
    page.wait_for_text("may not use this broker");
    ann.expect_silence();
}

#[test]
fn a_page_whose_name_points_at_the_broker_can_do_nothing_with_any_method() {
    let broker = TestBroker::start();
    let browser = Browser::with_args(&["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let site = format!("http://evil.example:{}", broker.address().port());
    let mut page = browser.open(&format!("{site}/healthz"));
    page.wait_for_text("ok");
    let mut send = |method: &str, path: &str| {
        let body = match method {
            "GET" | "HEAD" => "",
            _ => ", body: '\\nPUBLISH a got you\\nPUBLISH a again\\n'",
        };
        page.eval(&format!(
            "fetch('{path}', {{ method: '{method}'{body} }}).then((answer) => answer.status, (err) => err.name)"
        ))
    };
    for method in [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "OPTIONS",
        "DELETE",
        "PATCH",
        "patch",
        "QUERY",
        "PROPFIND",
        "MKCOL",
        "PUBLISH",
        "SUBSCRIBE",
        "PRI",
        "FOO",
        "a-b!c",
    ] {
        for path in ["/topics/a", "/", "/a%20b"] {
            // The page itself is for all.
            let is_page = path == "/" && ["GET", "HEAD"].contains(&method);
            let status = if is_page { 200 } else { 421 };
            assert_eq!(send(method, path), status, "{method} {path}");
        }
    }
    // The browser itself forbids these.
    for method in ["CONNECT", "TRACE", "TRACK"] {
        assert_eq!(send(method, "/"), "TypeError", "{method}");
    }
    let long = "a".repeat(20_000);
    for (method, path) in [("PATCH", &*format!("/{long}")), (&long, "/")] {
        let status = send(method, path);
        assert!(status == 421 || status == 431, "{status}");
    }
    ann.expect_silence();
}

#[test]
fn a_script_that_could_not_be_loaded_says_so() {
    let (broker, browser) = (TestBroker::start(), Browser::start());
    let mut page = browser.open(&address(&broker, "/"));
    page.wait_for("document.activeElement.id === 'nick'");
    assert_eq!(
        page.eval("document.querySelector('#unloaded')"),
        serde_json::Value::Null
    );
    // A proxy that passes on nothing below the page, and one that passes on some of it.
    let html = include_str!("../../broker/src/wire/http/www/index.html");
    for lost in ["www/page.js", "www/"] {
        let html = serde_json::json!(html.replace(lost, "nowhere/page.js"));
        page.eval(&format!(
            "document.open(); document.write({html}); document.close()"
        ));
        page.wait_for(
            "getComputedStyle(document.querySelector('#unloaded')).visibility === 'visible'",
        );
        page.wait_for_text("could not be loaded");
    }
}

#[test]
fn all_of_it_comes_from_the_broker_and_is_small() {
    let broker = TestBroker::start();
    let mut total = 0;
    for (path, kind) in [
        ("/", "text/html"),
        ("/chat", "text/html"),
        ("/www/style.css", "text/css"),
        ("/www/page.js", "text/javascript"),
        ("/www/login.js", "text/javascript"),
        ("/www/room.js", "text/javascript"),
        ("/www/live.js", "text/javascript"),
        ("/www/wire.js", "text/javascript"),
        ("/www/words.js", "text/javascript"),
        ("/www/icon.svg", "image/svg+xml"),
    ] {
        let mut client = broker.connect();
        client.write(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n"
        ));
        let answer = client.read_to_end();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(
            head.contains(&format!("content-type: {kind}")),
            "{path}: {head}"
        );
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
        assert!(head.contains("connect-src 'self' ws://localhost:1 wss://localhost:1;"));
        for elsewhere in [
            "https://",
            "//cdn",
            "innerHTML",
            "eval(",
            " onclick=",
            " style=\"",
        ] {
            assert!(!body.contains(elsewhere), "{path} has {elsewhere}");
        }
        total += body.len();
    }
    assert!(total < 100 * 1024, "{total} bytes");
}
