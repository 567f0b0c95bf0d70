//! The chats of textbooks, written anew in their shapes, in one room with everything that the broker speaks.

use std::net::SocketAddr;
use std::process::Command;

use tests::{Browser, Process, Tab, TestBroker, client_of, foreign, installed};

/// A member in datagrams that waits for the keyboard and the network at once.
const UDP_SELECT: &str = r#"
import select, socket, sys
room = (sys.argv[1], int(sys.argv[2]))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.sendto(sys.argv[3].encode(), room)
print("ready")
while True:
    ready, _, _ = select.select([sock, sys.stdin], [], [])
    if sock in ready:
        data, _ = sock.recvfrom(1024)
        print(data.decode(), end="")
    if sys.stdin in ready:
        text = sys.stdin.readline().rstrip()
        sock.sendto(text.encode(), room)
        if text == "bye":
            break
"#;

/// A member in datagrams with a thread that listens.
const UDP_THREAD: &str = r#"
import socket, sys, threading
room = (sys.argv[1], int(sys.argv[2]))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.sendto(sys.argv[3].encode(), room)
def listen():
    while True:
        message, address = sock.recvfrom(4096)
        print(message.decode("utf-8").strip())
threading.Thread(target=listen, daemon=True).start()
print("ready")
for text in sys.stdin:
    sock.sendto(text.strip().encode("utf-8"), room)
"#;

/// A member over TCP that sends without line ends, and makes a new file for each line that it reads.
const TCP_SELECTORS: &str = r#"
import selectors, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.send(sys.argv[3].encode())
def hear():
    print(sock.makefile().readline(), end="")
def say():
    text = sys.stdin.readline().strip()
    sock.send(text.encode())
    if text == "bye":
        sys.exit()
selector = selectors.DefaultSelector()
selector.register(sock, selectors.EVENT_READ, hear)
selector.register(sys.stdin, selectors.EVENT_READ, say)
print("ready")
while True:
    for key, _ in selector.select():
        key.data()
"#;

/// A member of the room's topic over MQTT, with the keys that its chat has for the nick and the text.
const MQTT: &str = r#"
import json, sys
import paho.mqtt.client as mqtt
host, port, me, nick, text = sys.argv[1:]
def on_message(client, userdata, message):
    said = json.loads(message.payload)
    if nick not in said:
        # From a chat with the other keys, which this one does not know.
        print(message.payload.decode())
    elif said[nick] != me:
        print(f"{said[nick]}: {said[text]}")
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_message = on_message
client.on_connect = lambda *args: client.subscribe("chatroom")
client.on_subscribe = lambda *args: print("ready")
client.connect(host, int(port))
client.loop_start()
for line in sys.stdin:
    client.publish("chatroom", json.dumps({nick: me, text: line.strip()}))
client.disconnect()
"#;

/// A client of the web chat.
const WEB_CHAT: &str = r#"
import json, sys, threading, time
from websockets.sync.client import connect
host, port, me = sys.argv[1:]
socket = connect(f"ws://{host}:{port}/talking")
def send(**keys):
    socket.send(json.dumps(keys))
send(type="login", nickname=me, room="chatroom", connectedAt=time.time())
# It is in the room when its next message has come back.
send(type="private", to=me, message="ready")
print(json.loads(socket.recv())["message"])
def listen():
    for text in socket:
        heard = json.loads(text)
        print(f"{heard['nickname']}: {heard['message']}")
threading.Thread(target=listen, daemon=True).start()
for line in sys.stdin:
    send(type="room", nickname=me, room="chatroom", message=line.strip())
socket.close()
"#;

/// What can say something in the room, and hear.
enum Member {
    Program(Process),
    Page(Box<Tab>),
}

fn python(script: &str, place: SocketAddr, args: &[&str]) -> Member {
    let (host, port) = (place.ip().to_string(), place.port().to_string());
    let args = [&[&*host, &*port], args].concat();
    let mut program = Process::start(&mut foreign::python(script, &args));
    program.expect("ready");
    Member::Program(program)
}

fn netcat(place: SocketAddr, nick: &str) -> Member {
    let mut command: Command = installed("nc", "netcat-openbsd");
    command.args([place.ip().to_string(), place.port().to_string()]);
    let mut program = Process::start(&mut command);
    program.write(format!("{nick}\n"));
    Member::Program(program)
}

fn chat(broker: &TestBroker, nick: &str) -> Member {
    let mut command = client_of(broker, "chat", &["chatroom", "--nick", nick, "--plain"]);
    let mut program = Process::start(&mut command);
    program.wait_for_line(&format!("you are {nick}"));
    Member::Program(program)
}

fn page(browser: &Browser, broker: &TestBroker, nick: &str) -> Member {
    let address = broker.address();
    let mut tab = browser.open(&format!("http://{address}/chat?room=chatroom&nick={nick}"));
    tab.wait_for_text(&format!("You are {nick} in chatroom."));
    Member::Page(Box::new(tab))
}

impl Member {
    fn say(&mut self, text: &str) {
        match self {
            Self::Program(program) => {
                program.write(format!("{text}\n"));
            }
            Self::Page(tab) => {
                tab.type_into("#text", text);
                tab.press("Enter");
            }
        }
    }

    /// Waits until it has heard this.
    fn hear(&mut self, nick: &str, text: &str) {
        match self {
            Self::Program(program) => {
                program.wait_for_line(text);
            }
            Self::Page(tab) => tab.wait_for(&heard_on_the_page(nick, text)),
        }
    }

    /// The number of times that a page shows this; a program is asked at the end.
    fn check_once(&mut self, nick: &str, text: &str) {
        if let Self::Page(tab) = self {
            assert!(tab.eval(&heard_on_the_page(nick, text)).as_bool() == Some(true));
        }
    }

    /// Everything that it has heard and not waited for.
    fn rest(self) -> Option<String> {
        match self {
            Self::Program(mut program) => {
                program.end_input();
                program.signal(rustix::process::Signal::TERM);
                Some(program.rest())
            }
            Self::Page(_) => None,
        }
    }
}

/// That the page shows this once.
fn heard_on_the_page(nick: &str, text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#log > *')].filter(row =>
            row.querySelector('.nick')?.innerText === {nick:?}
            && row.querySelector('p')?.innerText === {text:?}).length === 1"
    )
}

#[test]
fn all_chats_meet_in_one_room_and_each_message_comes_once() {
    let broker =
        TestBroker::with_args(&["--open", "--room", "0=chatroom", "--listen", "127.0.0.1:0"]);
    let room = broker.room_address();
    let mqtt = broker.other_addresses()[0];
    let browser = Browser::start();
    // Without line ends, only a pause divides a nick from the first text.
    let mut presence = broker.subscribe("chatroom/$who/files");
    let mut members = vec![
        ("selects", python(UDP_SELECT, room, &["selects"])),
        ("threads", python(UDP_THREAD, room, &["threads"])),
        ("files", python(TCP_SELECTORS, room, &["files"])),
        ("first", python(MQTT, mqtt, &["first", "nick", "message"])),
        ("second", python(MQTT, mqtt, &["second", "user", "say"])),
        ("netcat", netcat(room, "netcat")),
        (
            "tutorial",
            python(WEB_CHAT, broker.address(), &["tutorial"]),
        ),
        ("student", python(WEB_CHAT, broker.address(), &["student"])),
        ("terminal", chat(&broker, "terminal")),
        ("page", page(&browser, &broker, "page")),
    ];
    presence.expect_prefix("MESSAGE chatroom/$who/files {");
    for speaker in 0..members.len() {
        let nick = members[speaker].0;
        let text = format!("hello from {nick}");
        members[speaker].1.say(&text);
        for (listener, (_, member)) in members.iter_mut().enumerate() {
            if listener != speaker {
                member.hear(nick, &text);
            }
        }
    }
    // Whatever came twice would be left.
    let nicks = members.iter().map(|(nick, _)| *nick);
    let nicks: Vec<&str> = nicks.filter(|&nick| nick != "page").collect();
    for (me, mut member) in members {
        for nick in &nicks {
            member.check_once(nick, &format!("hello from {nick}"));
        }
        let rest = member.rest().unwrap_or_default();
        let own = format!("hello from {me}");
        let heard = rest.lines().filter(|line| line.contains("hello from"));
        let heard: Vec<_> = heard.filter(|line| !line.contains(&own)).collect();
        assert_eq!(heard, Vec::<&str>::new(), "{me} heard these twice");
    }
}
