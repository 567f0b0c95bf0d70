//! The three examples of `security.md`, each played whole: with its files as the documents have them, on the real
//! program, beyond loopback and in TLS. What its rules say is asked on lines, in MQTT and over HTTP.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use tests::certificates::{Authority, Wanted};
use tests::source::workspace;
use tests::{
    Alg, Browser, JwtIssuer, Process, Tab, TestBroker, TlsClient, TlsOffer, foreign, in_seconds,
    installed, outcome, program,
};

/// A broker with the files of an example, in a folder of its own.
struct Example {
    broker: TestBroker,
    folder: TempDir,
    /// The authority of the broker's certificate.
    ca: PathBuf,
    /// What the certificate calls the broker.
    host: &'static str,
}

/// A client, by what it shows.
#[derive(Clone, Copy)]
struct Who<'a> {
    name: &'a str,
    /// With a password.
    user: &'a str,
    secret: &'a str,
    /// It has a certificate, which the folder has.
    is_machine: bool,
}

const ANONYMOUS: Who<'_> = Who {
    name: "anonymous",
    user: "",
    secret: "",
    is_machine: false,
};

/// The password of each user.
const PASSWORD: &str = "right";

fn user(name: &str) -> Who<'_> {
    Who {
        name,
        user: name,
        secret: PASSWORD,
        is_machine: false,
    }
}

/// One that shows a token or a JWT.
fn bearer<'a>(name: &'a str, secret: &'a str) -> Who<'a> {
    Who {
        name,
        secret,
        ..ANONYMOUS
    }
}

fn machine(name: &str) -> Who<'_> {
    Who {
        name,
        is_machine: true,
        ..ANONYMOUS
    }
}

/// The block of this kind in `security.md` that has this in it.
fn block(kind: &str, part: &str) -> String {
    let document = fs::read_to_string(workspace().join("docs/security.md")).expect("a document");
    let mut blocks = document.split("\n```");
    let found = blocks.find_map(|block| block.strip_prefix(kind).filter(|it| it.contains(part)));
    found
        .unwrap_or_else(|| panic!("no {kind} with {part}"))
        .trim()
        .to_owned()
}

impl Example {
    /// Makes the files of an example as the document says, after `prepare`, and starts its broker.
    fn start(name: &str, host: &'static str, ca: &str, prepare: impl FnOnce(&TempDir)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(&folder);
        let file = |name: &str| folder.path().join(name);
        let config = format!("{name}.toml");
        fs::write(file(&config), block("toml", &format!("# {config}"))).expect("room");
        let access = format!("{name}.access");
        fs::copy(workspace().join("docs/access").join(&access), file(&access)).expect("room");
        let start = format!("broker --config {config}");
        let typed = block("sh", &start);
        let programs = program("broker");
        let programs = programs.parent().expect("a folder").to_str().expect("text");
        let secret = file("secret");
        fs::write(&secret, format!("{PASSWORD}\n")).expect("room");
        for line in typed.lines().filter(|line| !line.starts_with(&start)) {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).current_dir(&folder);
            shell.env("PATH", format!("{programs}:/usr/bin:/bin"));
            let (code, _, said) = outcome(shell.stdin(File::open(&secret).expect("a file")));
            assert_eq!(code, Some(0), "{line}: {said}");
        }
        let mut command = TestBroker::bare(&["--config", &config, "--port", "0"]);
        let broker = TestBroker::of(command.current_dir(&folder));
        // What it says of itself is how it can be reached.
        let log = broker.log();
        assert!(
            log.contains("openssl s_client ") && log.contains("browser: https://"),
            "{log}"
        );
        assert!(!log.contains("because there is no TLS"), "{log}");
        let ca = file(ca);
        let example = Self {
            broker,
            folder,
            ca,
            host,
        };
        example
            .broker
            .connect()
            .send("PING")
            .expect("ERROR auth line this port speaks TLS only");
        example
    }

    fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.folder.path().join(name)).expect("a file");
        text.trim().to_owned()
    }

    /// The paths of certificate and key of a machine.
    fn certificate(&self, who: Who<'_>) -> [String; 2] {
        let path = |end| {
            self.folder
                .path()
                .join(format!("tls/client-{}{end}.pem", who.name))
        };
        [path(""), path("-key")].map(|path| path.to_str().expect("text").to_owned())
    }

    /// A client of lines that has said who it is.
    #[track_caller]
    fn line(&self, who: Who<'_>) -> TlsClient {
        let own = who.is_machine.then(|| {
            let [cert, key] = self.certificate(who).map(PathBuf::from);
            tests::certificates::Files { cert, key }
        });
        let offer = TlsOffer::with(&self.ca, own.as_ref(), &[], false);
        let mut client = offer
            .try_connect(self.broker.address(), self.host)
            .expect("it is let in");
        let said = ["AUTH", who.user, who.secret];
        let said: Vec<&str> = said.into_iter().filter(|word| !word.is_empty()).collect();
        client
            .send(&said.join(" "))
            .expect(&format!("AUTHACK {}", who.name));
        client
    }

    fn mosquitto(&self, program: &str, who: Who<'_>, args: &[&str]) -> Command {
        let mut command = foreign::mosquitto(program, self.broker.address());
        // The name in the certificate is no name of this machine.
        command
            .args(["-V", "5", "--insecure", "--cafile"])
            .arg(&self.ca)
            .args(args);
        if !args.contains(&"-i") {
            command.args(["-i", who.name]);
        }
        if !who.user.is_empty() {
            command.args(["-u", who.user]);
        }
        if !who.secret.is_empty() {
            command.args(["-P", who.secret]);
        }
        if who.is_machine {
            let [cert, key] = self.certificate(who);
            command.args(["--cert", &cert, "--key", &key]);
        }
        command
    }

    /// The body of an answer, and its status.
    fn curl(&self, who: Who<'_>, args: &[&str], path: &str) -> (String, u16) {
        let port = self.broker.address().port();
        let mut curl = installed("curl", "curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "--cacert"])
            .arg(&self.ca)
            .args(args);
        curl.args(["--resolve", &format!("{}:{port}:127.0.0.1", self.host)]);
        match who {
            Who {
                is_machine: true, ..
            } => {
                let [cert, key] = self.certificate(who);
                curl.args(["--cert", &cert, "--key", &key]);
            }
            Who { secret: "", .. } => {}
            Who {
                user: "", secret, ..
            } => {
                curl.args(["--oauth2-bearer", secret]);
            }
            Who { user, secret, .. } => {
                curl.args(["-u", &format!("{user}:{secret}")]);
            }
        }
        let (_, out, err) = outcome(curl.arg(format!("https://{}:{port}{path}", self.host)));
        let (body, status) = out.rsplit_once('\n').unwrap_or_else(|| panic!("{err}"));
        (body.to_owned(), status.parse().expect("a number"))
    }

    fn on_lines(&self, who: Who<'_>, asked: &str, topic: &str) -> bool {
        let mut client = self.line(who);
        client.send(&match asked {
            "publish" => format!("PUBLISH {topic} 1"),
            "retain" => format!("@retain PUBLISH {topic}"),
            "will" => format!("WILL {topic} 1"),
            _ => format!("SUBSCRIBE {topic}"),
        });
        let answer = client.try_line().expect("it is open").expect("an answer");
        let is_denied = answer.starts_with("ERROR denied ") || answer.starts_with("ERROR auth ");
        assert!(is_denied || answer.contains("ACK "), "{answer}");
        !is_denied
    }

    fn on_mqtt(&self, who: Who<'_>, asked: &str, topic: &str) -> bool {
        let publisher: &[&str] = match asked {
            "publish" => &["-q", "1", "-t", topic, "-m", "1"],
            "retain" => &["-q", "1", "-t", topic, "-r", "-n"],
            "will" => &[
                "-t",
                topic,
                "-m",
                "1",
                "--will-topic",
                topic,
                "--will-payload",
                "1",
            ],
            _ => {
                // It ends when its subscription is answered.
                let args = ["-d", "-E", "-t", topic];
                let (code, out, err) = outcome(&mut self.mosquitto("mosquitto_sub", who, &args));
                assert!(
                    out.contains("Subscribed (mid: 1): ") || code == Some(135),
                    "{out}{err}"
                );
                return out.contains("Subscribed (mid: 1): 0");
            }
        };
        let (code, _, err) = outcome(&mut self.mosquitto("mosquitto_pub", who, publisher));
        // Not authorized, in the CONNACK.
        assert!(code == Some(0) || code == Some(135), "{err}");
        code == Some(0) && (asked == "will" || !err.contains("Not authorized"))
    }

    fn on_http(&self, who: Who<'_>, asked: &str, topic: &str) -> Option<bool> {
        let path = format!("/topics/{}", topic.replace('#', "**").replace('+', "*"));
        let (_, status) = match asked {
            "publish" => self.curl(who, &["-d", "1"], &path),
            "retain" => self.curl(who, &["--data-binary", ""], &format!("{path}?retain")),
            "will" => return None,
            _ => self.curl(who, &[], &format!("{path}?timeout=20ms")),
        };
        let denied = if who.name == "anonymous" { 401 } else { 403 };
        assert!([200, 204, denied].contains(&status), "{status}");
        Some(status != denied)
    }

    /// Asks each row of a table on each wire: whether it is allowed, who asks, for which right, and for which topic.
    fn play(&self, clients: &[Who<'_>], table: &str) {
        for row in table.lines() {
            let words: Vec<&str> = row.split_whitespace().collect();
            let [expected, name, asked, topic] = words[..] else {
                panic!("{row}");
            };
            let who = clients
                .iter()
                .find(|who| who.name == name)
                .expect("it is there");
            let told = [
                self.on_lines(*who, asked, topic),
                self.on_mqtt(*who, asked, topic),
                self.on_http(*who, asked, topic)
                    .unwrap_or(expected == "yes"),
            ];
            assert_eq!(told, [expected == "yes"; 3], "lines, MQTT, HTTP: {row}");
        }
    }
}

#[test]
fn a_household_is_as_its_files_say() {
    let home = Example::start("household", "broker.lan", "tls/ca.pem", |_| {});
    let [meter, door] = ["meter-1.token", "door.token"].map(|name| home.read(name));
    let (meter, door) = (bearer("meter-1", &meter), bearer("door", &door));
    let [ann, bob, guest, tablet] = ["ann", "bob", "guest", "tablet"].map(user);
    home.play(
        &[ann, bob, guest, tablet, meter, door, ANONYMOUS],
        "yes ann publish home/kitchen/light/set
         yes bob subscribe home/door/lock/#
         no  ann subscribe #
         no  ann publish garden/gate
         yes meter-1 retain home/meter-1/temperature
         yes meter-1 will home/meter-1/online
         yes meter-1 subscribe home/meter-1/set/#
         no  meter-1 publish home/door/lock
         no  meter-1 subscribe home/#
         yes door publish home/door/lock/state
         yes guest publish home/light/hall/set
         yes guest subscribe home/light/#
         no  guest subscribe home/meter-1/temperature
         no  guest publish home/door/lock/open
         no  guest retain home/light/hall/set
         yes tablet subscribe #
         no  tablet subscribe home/door/lock/#
         no  tablet publish home/light/hall/set
         no  anonymous subscribe home/light/#
         no  anonymous publish home/light/hall/set",
    );
    // What is published reaches those that may see it, and no others.
    let args = ["-v", "-d", "-t", "#"];
    let mut wall = Process::start(&mut home.mosquitto("mosquitto_sub", tablet, &args));
    wall.wait_for_line("Subscribed (mid: 1): 0");
    let (mut family, mut visitor) = (home.line(ann), home.line(guest));
    family.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    visitor
        .send("SUBSCRIBE home/light/#")
        .expect("SUBACK home/light/#");
    let args = [
        "-i",
        "meter-1-attic",
        "-t",
        "home/meter-1/temperature",
        "-m",
        "21.5",
        "-q",
        "1",
    ];
    assert_eq!(
        outcome(&mut home.mosquitto("mosquitto_pub", meter, &args)).0,
        Some(0)
    );
    assert_eq!(
        home.curl(door, &["-d", "open"], "/topics/home/door/lock/state")
            .1,
        200
    );
    home.line(bob)
        .send("PUBLISH home/light/hall/set on")
        .expect("PUBACK 1 3");
    family.expect("MESSAGE home/meter-1/temperature 21.5");
    family.expect("MESSAGE home/door/lock/state open");
    family.expect("MESSAGE home/light/hall/set on");
    visitor.expect("MESSAGE home/light/hall/set on");
    let mut seen = String::new();
    while !seen.contains("home/light/hall/set on") {
        seen += &wall.next_line();
    }
    assert!(
        seen.contains("home/meter-1/temperature 21.5") && !seen.contains("lock"),
        "{seen}"
    );
    // A sensor cannot pass for another one: neither by its identifier nor by its token.
    for args in [
        ["-i", "door", "-t", "home/meter-1/x", "-m", "1"],
        ["-u", "door", "-t", "home/meter-1/x", "-m", "1"],
    ] {
        let (code, _, err) = outcome(&mut home.mosquitto("mosquitto_pub", meter, &args));
        assert!(code == Some(135) || code == Some(134), "{args:?}: {err}");
    }
    // Nor does a guest see who is there.
    let who = home.curl(guest, &[], "/api/clients").0;
    assert!(
        who.contains("\"guest\"") && !who.contains("\"ann\"") && !who.contains("\"tablet\""),
        "{who}"
    );
}

#[test]
fn a_company_is_as_its_files_say() {
    let issuer = JwtIssuer::new();
    let company = Example::start("company", "broker.example.org", "tls/ca.pem", |folder| {
        let keys = folder.path().join("keys.json");
        fs::copy(issuer.path(), &keys).expect("room");
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).expect("it is ours");
    });
    let token_for = |audience: &str, name: &str, groups: &[&str]| {
        let claims = json!({
            "iss": "https://id.example.org", "aud": audience, "sub": name, "groups": groups, "exp": in_seconds(600),
        });
        issuer.token(Alg::Es256, &claims)
    };
    let token = |name: &str, groups: &[&str]| token_for("dallal", name, groups);
    let secrets = [
        ("olga", token("olga", &["operators"])),
        ("ana", token("ana", &["analysts"])),
        ("planner", token("planner", &[])),
        ("shop", token("shop", &[])),
    ];
    let [olga, ana, planner, shop] =
        [0, 1, 2, 3].map(|at: usize| bearer(secrets[at].0, &secrets[at].1));
    let press = machine("press-1.plant.example");
    company.play(
        &[olga, ana, planner, shop, press, ANONYMOUS],
        "yes press-1.plant.example publish plant/press-1.plant.example/measure/force
         yes press-1.plant.example retain plant/press-1.plant.example/state
         yes press-1.plant.example will plant/press-1.plant.example/state
         yes press-1.plant.example subscribe plant/press-1.plant.example/command/#
         no  press-1.plant.example publish plant/press-2.plant.example/measure/force
         no  press-1.plant.example subscribe plant/#
         yes olga publish plant/press-1.plant.example/command/stop
         yes olga subscribe plant/#
         no  olga publish orders/new
         yes ana subscribe plant/#
         no  ana subscribe plant/+/measure/staff/#
         no  ana publish plant/press-1.plant.example/command/order
         yes planner subscribe $share/planners/orders/#
         yes planner publish plant/press-1.plant.example/command/order
         no  planner subscribe orders/#
         no  planner publish plant/press-1.plant.example/command/stop
         yes shop publish orders/new
         no  shop subscribe orders/#
         no  anonymous subscribe plant/#
         no  anonymous publish orders/new",
    );
    // A machine hears its own commands, operators hear all, and the analysts what is measured of machines.
    let mut commands = company.line(press);
    commands.send("SUBSCRIBE plant/press-1.plant.example/command/#");
    commands.expect("SUBACK plant/press-1.plant.example/command/#");
    let mut operator = company.line(olga);
    operator.send("SUBSCRIBE plant/#").expect("SUBACK plant/#");
    let args = ["-v", "-d", "-t", "plant/#"];
    let mut analyst = Process::start(&mut company.mosquitto("mosquitto_sub", ana, &args));
    analyst.wait_for_line("Subscribed (mid: 1): 0");
    for (topic, text) in [
        ("measure/staff/shift", "early"),
        ("state", "runs"),
        ("measure/force", "7"),
    ] {
        let topic = format!("plant/press-2.plant.example/{topic}");
        let args = ["-t", &topic, "-m", text, "-q", "1"];
        let other = machine("press-2.plant.example");
        assert_eq!(
            outcome(&mut company.mosquitto("mosquitto_pub", other, &args)).0,
            Some(0)
        );
        operator.expect(&format!("MESSAGE {topic} {text}"));
    }
    let mut seen = String::new();
    while !seen.contains("measure/force 7") {
        seen += &analyst.next_line();
    }
    assert!(!seen.contains("early") && !seen.contains("runs"), "{seen}");
    let stop = "/topics/plant/press-1.plant.example/command/stop";
    assert_eq!(company.curl(olga, &["-d", "now"], stop).1, 200);
    commands.expect("MESSAGE plant/press-1.plant.example/command/stop now");
    // The programs of the group share what comes: each order is one's.
    let mut planners = [company.line(planner), company.line(planner)];
    for member in &mut planners {
        let filter = "$share/planners/orders/#";
        member
            .send(&format!("SUBSCRIBE {filter}"))
            .expect(&format!("SUBACK {filter}"));
    }
    let mut orders = company.line(shop);
    for number in 1..=6 {
        orders
            .send(&format!("PUBLISH orders/new {number}"))
            .expect(&format!("PUBACK {number} 1"));
    }
    let mut shared = Vec::new();
    for member in &mut planners {
        member.send("PING");
        loop {
            match member.try_line().expect("it is open").expect("a line") {
                line if line == "PONG" => break,
                line => shared.push(line),
            }
        }
    }
    shared.sort();
    let all: Vec<String> = (1..=6)
        .map(|number| format!("MESSAGE orders/new {number}"))
        .collect();
    assert_eq!(shared, all);
    // A token for another service, and one that claims a machine's group, get no further.
    let elsewhere = token_for("shop", "olga", &["operators"]);
    assert_eq!(
        company
            .curl(bearer("olga", &elsewhere), &["-d", "now"], stop)
            .1,
        401
    );
    let thief = token("thief", &["machines"]);
    let thief = bearer("thief", &thief);
    assert!(!company.on_lines(
        thief,
        "publish",
        "plant/press-1.plant.example/measure/force"
    ));
}

/// The page of the chat in a room, with a user that logs in.
#[track_caller]
fn enter(browser: &Browser, chat: &Example, room: &str, nick: &str) -> Tab {
    let port = chat.broker.address().port();
    let page = format!("https://{}:{port}/chat?room={room}&nick={nick}", chat.host);
    let mut tab = browser.open(&page);
    // It is open to all that read.
    tab.wait_for_text(&format!("anonymous may not publish to {room}/$who/{nick}"));
    tab.wait_for("!document.querySelector('#log-in').hidden");
    tab.click("#log-in");
    tab.log_in(nick, PASSWORD);
    tab.wait_for_text(&format!("You are {nick} in {room}."));
    tab
}

#[track_caller]
fn say(tab: &mut Tab, text: &str) {
    tab.type_into("#text", text);
    tab.press("Enter");
}

#[track_caller]
fn expect_parts(client: &mut TlsClient, parts: &[&str]) {
    let line = client.try_line().expect("it is open").expect("a line");
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

#[test]
fn a_public_chat_is_as_its_files_say() {
    let ca = Authority::new();
    let chat = Example::start("public-chat", "chat.example.org", "ca.pem", |folder| {
        let wanted = Wanted {
            hosts: &["chat.example.org"],
            ..Wanted::default()
        };
        let files = ca.sign("chat", &wanted);
        for (from, name) in [
            (&files.cert, "fullchain.pem"),
            (&files.key, "privkey.pem"),
            (&ca.pem(), "ca.pem"),
        ] {
            fs::copy(from, folder.path().join(name)).expect("room");
        }
    });
    let [ann, bob, mia, carl, eve] = ["ann", "bob", "mia", "carl", "eve"].map(user);
    chat.play(
        &[ann, bob, mia, carl, eve, ANONYMOUS],
        "yes anonymous subscribe lobby
         no  anonymous publish lobby
         no  anonymous subscribe board
         no  anonymous subscribe $private/ann/lobby
         yes carl publish lobby
         yes carl publish $private/ann/lobby
         yes carl will lobby/$who/carl
         yes carl retain lobby/$who/carl
         no  carl retain lobby/$who/ann
         no  carl subscribe board
         no  carl subscribe $private/ann/lobby
         no  carl subscribe lobby/#
         yes ann subscribe $private/ann/lobby
         yes ann subscribe board
         yes bob publish board
         no  ann publish announcements
         yes mia retain announcements
         yes eve subscribe lobby
         no  eve publish lobby
         no  eve publish $private/ann/lobby",
    );
    // On the page, in lines of a user, and in lines of one that only reads.
    let (mut friend, mut reader) = (chat.line(ann), chat.line(ANONYMOUS));
    friend.send("SUBSCRIBE lobby $private/ann/lobby");
    friend
        .expect("SUBACK lobby")
        .expect("SUBACK $private/ann/lobby");
    reader.send("SUBSCRIBE lobby").expect("SUBACK lobby");
    // The test's authority is in no store of certificates that the browser has.
    let rules = "--host-resolver-rules=MAP chat.example.org 127.0.0.1";
    let browser = Browser::with_args(&["--ignore-certificate-errors", rules]);
    let mut tab = enter(&browser, &chat, "lobby", "carl");
    say(&mut tab, "good morning");
    for client in [&mut friend, &mut reader] {
        expect_parts(
            client,
            &["MESSAGE lobby {\"nick\":\"carl\"", "good morning"],
        );
    }
    say(&mut tab, "/msg ann psst");
    expect_parts(&mut friend, &["MESSAGE $private/ann/lobby ", "psst"]);
    friend.send("PUBLISH $private/carl/lobby {\"nick\":\"ann\",\"message\":\"yes?\"}");
    friend.expect("PUBACK 1 1");
    tab.wait_for_text("yes?");
    reader.send("PING").expect("PONG");
    // Neither another user's name nor the room of the board is open to carl.
    say(&mut tab, "/nick ann");
    tab.wait_for_text(
        "The broker refused: denied subscribe:$private/ann/lobby carl may not subscribe to",
    );
    say(&mut tab, "/join board");
    tab.wait_for_text("carl may not subscribe to board");
    tab.click("#log-out");
    // A muted user is told so, until its line in the file says otherwise.
    let mut tab = enter(&browser, &chat, "lobby", "eve");
    say(&mut tab, "let me in");
    tab.wait_for_text("eve may not publish to lobby");
    let users = chat.read("users");
    fs::write(
        chat.folder.path().join("users"),
        users.replace(" groups=muted", "") + "\n",
    )
    .expect("room");
    chat.broker.wait_for_log("are in force");
    say(&mut tab, "thank you");
    for client in [&mut friend, &mut reader] {
        expect_parts(client, &["MESSAGE lobby {\"nick\":\"eve\"", "thank you"]);
    }
}
