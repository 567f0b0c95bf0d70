//! Promises of `security.md`, held by clients that others wrote: each shows a password, a token, a JWT and a
//! certificate as far as it can, is who that says, and is refused what its rules do not allow. All of it in TLS.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::certificates::{Authority, Files, Wanted};
use tests::{
    Alg, Browser, JwtIssuer, Process, TestBroker, UsersFile, foreign, in_seconds, installed,
    outcome,
};

/// A client may use the topics that have its name, and see no others.
const RULES: &str = "allow known publish subscribe own/%u/#\n";

/// A broker that takes each kind of credential, on a port that speaks TLS as well.
struct Scene {
    broker: TestBroker,
    ca: Authority,
    issuer: JwtIssuer,
    /// A token of meter-7, which has no password.
    token: String,
    _users: UsersFile,
}

/// How a script is run, with these arguments.
type Run = fn(&str, &[&str]) -> Command;

/// What a client shows, and who it is then.
struct Shown {
    name: &'static str,
    user: &'static str,
    secret: String,
    own: Option<Files>,
}

impl Scene {
    fn start() -> Self {
        let (ca, issuer) = (Authority::new(), JwtIssuer::new());
        let users = UsersFile::of(&[("ann", "right")]);
        users.run(&["user", "add", "meter-7", "--no-password"], "");
        let token = users.run(&["token", "add", "meter-7"], "");
        let access = ca.path("rules.access");
        fs::write(&access, RULES).expect("room");
        let files = ca.sign("broker", &Wanted::HERE);
        let (keys, pem) = (issuer.path(), ca.pem());
        let mut flags = files.flags().to_vec();
        flags.extend(["--client-ca", pem.to_str().expect("text")]);
        flags.extend(["--access", access.to_str().expect("text")]);
        flags.extend(["--users", users.path(), "--jwt-keys", &keys]);
        let broker = TestBroker::with_args(&flags);
        Self {
            broker,
            ca,
            issuer,
            token,
            _users: users,
        }
    }

    /// One of each kind: a password, a token, a JWT, a certificate. `user` is what goes with a token.
    fn credentials(&self, user: &'static str) -> [Shown; 4] {
        let of = |name, user, secret: &str| Shown {
            name,
            user,
            secret: secret.to_owned(),
            own: None,
        };
        let jwt = self.issuer.token_of(Alg::Es256, "olga");
        let own = Some(certificate(&self.ca));
        [
            of("ann", "ann", "right"),
            of("meter-7", user, &self.token),
            of("olga", "olga", &jwt),
            Shown {
                own,
                ..of("press", "", "")
            },
        ]
    }

    /// The same, and none of them counts.
    fn wrong_credentials(&self) -> [Shown; 4] {
        let mut all = self.credentials("meter-7");
        all[0].secret = "wrong".to_owned();
        // A letter in the middle, of which all bits count.
        let middle = all[1].secret.len() / 2;
        let other = if all[1].secret.as_bytes()[middle] == b'A' {
            "B"
        } else {
            "A"
        };
        all[1].secret.replace_range(middle..=middle, other);
        all[2].secret = JwtIssuer::new().token_of(Alg::Es256, "olga");
        all[3].own = Some(certificate(&Authority::new()));
        all
    }

    fn port(&self) -> String {
        self.broker.address().port().to_string()
    }

    fn ca(&self) -> String {
        self.ca.pem().to_str().expect("text").to_owned()
    }

    /// What a script prints, which is given port and authority, the version of MQTT, and what is shown.
    fn play(&self, run: Run, script: &str, version: &str, it: &Shown) -> String {
        let (port, ca, [cert, key]) = (self.port(), self.ca(), it.files());
        let args = [
            &port, &ca, version, it.name, it.user, &it.secret, &cert, &key,
        ];
        Process::start(&mut run(script, &args)).rest()
    }

    /// A script of MQTT is let in with each credential that is right, and with none that is wrong.
    fn play_mqtt(&self, run: Run, script: &str) {
        for (version, user, not_granted, not_published) in
            [("4", "meter-7", 128, 0), ("5", "", 135, 135)]
        {
            for shown in self.credentials(user) {
                let name = shown.name;
                let expected = format!(
                    "connected 0\nsubscribed 1 {not_granted}\npublished {not_published}\nown/{name}/x hi\n"
                );
                let told = self.play(run, script, version, &shown);
                assert_eq!(told, expected, "{name} in version {version}");
            }
        }
        for (shown, version) in self.wrong_credentials().iter().zip(["4", "5", "5", "5"]) {
            let told = self.play(run, script, version, shown);
            let expected = match (&shown.own, version) {
                (Some(_), _) => "",
                (None, "4") => "connected 4\n",
                (None, _) => "connected 134\n",
            };
            assert_eq!(told, expected, "{} in version {version}", shown.name);
        }
    }
}

impl Shown {
    /// The paths of certificate and key; empty without one.
    fn files(&self) -> [String; 2] {
        let text = |path: &std::path::PathBuf| path.to_str().expect("text").to_owned();
        let own = self.own.as_ref();
        own.map_or_else(Default::default, |own| [text(&own.cert), text(&own.key)])
    }

    /// Lines that say who the client is, and what it may and may not do; and what comes back.
    fn lines(&self) -> (String, String) {
        let said = ["AUTH", self.user, &self.secret];
        let said: Vec<&str> = said.into_iter().filter(|word| !word.is_empty()).collect();
        let (said, name) = (said.join(" "), self.name);
        (
            format!(
                "{said}\nSUBSCRIBE own/{name}/#\nPUBLISH own/{name}/x hi\nPUBLISH own/other/x no\nBYE\n"
            ),
            format!(
                "AUTHACK {name}\nSUBACK own/{name}/#\nMESSAGE own/{name}/x hi\nPUBACK 1 1\n\
                 ERROR denied publish:2 {name} may not publish to own/other/x (no rule allows it)\n\
                 PUBACK 2 0\nBYE\n"
            ),
        )
    }
}

fn certificate(authority: &Authority) -> Files {
    let wanted = Wanted {
        uris: &["dallal:press"],
        for_client: true,
        ..Wanted::default()
    };
    authority.sign("press", &wanted)
}

/// Subscribes to its own topics and to others, and publishes to both.
const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt
port, ca, version, name, user, secret, cert, key = sys.argv[1:]
def on_connect(client, userdata, flags, code, properties):
    # Of 3.1.1 it is given the code of 5.0 that means the same.
    print("connected", 4 if version == "4" and code.value == 134 else code.value)
    if code.is_failure:
        client.disconnect()
    else:
        client.subscribe([(f"own/{name}/#", 1), ("own/other/#", 1)])
def on_subscribe(client, userdata, mid, codes, properties):
    print("subscribed", *[code.value for code in codes])
    client.publish("own/other/x", "no", qos=1)
def on_publish(client, userdata, mid, code, properties):
    print("published", code.value)
    client.on_publish = None
    client.publish(f"own/{name}/x", "hi", qos=1)
def on_message(client, userdata, message):
    print(message.topic, message.payload.decode())
    client.disconnect()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "paho", protocol=int(version))
client.tls_set(ca, cert or None, key or None)
if secret:
    client.username_pw_set(user, secret)
client.on_connect, client.on_subscribe = on_connect, on_subscribe
client.on_publish, client.on_message = on_publish, on_message
client.on_disconnect = lambda *args: client.disconnect()
client.connect("127.0.0.1", int(port))
client.loop_forever()
"#;

#[test]
fn paho_shows_each_credential() {
    Scene::start().play_mqtt(foreign::python, PAHO);
}

const MQTT_JS: &str = r#"
const fs = require("fs"), mqtt = require("mqtt");
const [port, ca, version, name, username, secret, cert, key] = process.argv.slice(-8);
const read = (file) => file ? fs.readFileSync(file) : undefined;
const client = mqtt.connect({
  protocol: "mqtts", host: "127.0.0.1", port: Number(port), ca: read(ca), cert: read(cert), key: read(key),
  protocolVersion: Number(version), username: secret ? username : undefined,
  password: secret || undefined,
  reconnectPeriod: 0,
});
client.on("connect", () => client.subscribe([`own/${name}/#`, "own/other/#"], { qos: 1 }, () => {}));
client.on("packetreceive", (packet) => {
  const code = packet.reasonCode ?? packet.returnCode ?? 0;
  if (packet.cmd === "connack") console.log("connected", code);
  if (packet.cmd === "suback") {
    console.log("subscribed", ...packet.granted);
    client.publish("own/other/x", "no", { qos: 1 }, () => client.publish(`own/${name}/x`, "hi", { qos: 0 }));
  }
  if (packet.cmd === "puback") console.log("published", code);
  if (packet.cmd === "publish") {
    console.log(packet.topic, packet.payload.toString());
    client.end();
  }
});
client.on("error", () => client.end(true));
"#;

#[test]
fn mqtt_js_shows_each_credential() {
    Scene::start().play_mqtt(foreign::node, MQTT_JS);
}

/// Shows a JWT by the method of that name, and another one on the living connection. The library itself takes no
/// AUTH, so the script does.
const PAHO_METHOD: &str = r#"
import sys
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
port, ca = sys.argv[1:]
print("ready")
first, second = sys.stdin.read().split()
def shown(kind, token):
    properties = Properties(kind)
    properties.AuthenticationMethod, properties.AuthenticationData = "JWT", token.encode()
    return properties
class Client(mqtt.Client):
    def _packet_handle(self):
        if self._in_packet["command"] & 0xF0 != mqtt.AUTH:
            return super()._packet_handle()
        code = ReasonCode(PacketTypes.AUTH)
        code.unpack(self._in_packet["packet"])
        print("renewed", code.value)
        return mqtt.MQTT_ERR_SUCCESS
def on_connect(client, userdata, flags, code, properties):
    print("connected", code.value, getattr(properties, "AuthenticationMethod", None))
    if code.is_failure:
        return client.disconnect()
    code = ReasonCode(PacketTypes.AUTH, "Re-authenticate")
    body = code.pack() + shown(PacketTypes.AUTH, second).pack()
    packet = bytearray([mqtt.AUTH])
    client._pack_remaining_length(packet, len(body))
    client._packet_queue(mqtt.AUTH, packet + body, 0, 0)
def on_disconnect(client, userdata, flags, code, properties):
    print("disconnected", code.value)
    client.disconnect()
client = Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.tls_set(ca)
client.on_connect, client.on_disconnect = on_connect, on_disconnect
client.connect("127.0.0.1", int(port), properties=shown(PacketTypes.CONNECT, first))
client.loop_forever()
"#;

const MQTT_JS_METHOD: &str = r#"
const fs = require("fs"), mqtt = require("mqtt"), { writeToStream } = require("mqtt-packet");
const [port, ca] = process.argv.slice(-2);
console.log("ready");
const [first, second] = fs.readFileSync(0, "utf8").trim().split(" ");
const shown = (token) => ({ authenticationMethod: "JWT", authenticationData: Buffer.from(token) });
const client = mqtt.connect({
  protocol: "mqtts", host: "127.0.0.1", port: Number(port), ca: fs.readFileSync(ca), protocolVersion: 5,
  reconnectPeriod: 0, properties: shown(first),
});
client.on("connect", ({ reasonCode, properties }) => {
  console.log("connected", reasonCode, properties.authenticationMethod);
  writeToStream({ cmd: "auth", reasonCode: 0x19, properties: shown(second) }, client.stream, { protocolVersion: 5 });
});
client.handleAuth = ({ reasonCode }, done) => { console.log("renewed", reasonCode); done(); };
client.on("disconnect", ({ reasonCode }) => console.log("disconnected", reasonCode));
client.on("error", ({ code }) => { console.log("connected", code); client.end(true); });
"#;

#[test]
fn paho_and_mqtt_js_show_a_jwt_by_its_method_and_another_one_on_the_living_connection() {
    let scene = Scene::start();
    let token = |name, seconds| {
        let claims = json!({"sub": name, "exp": in_seconds(seconds)});
        scene.issuer.token(Alg::Es256, &claims)
    };
    let (long, bob) = (token("olga", 3600), token("bob", 3600));
    let foreign = JwtIssuer::new().token_of(Alg::Es256, "olga");
    let start = |(run, script): (Run, &str)| {
        let mut library = Process::start(&mut run(script, &[&scene.port(), &scene.ca()]));
        library.expect("ready");
        library
    };
    let show = |library: &mut Process, first: &str, second: &str| {
        library.write(format!("{first} {second}")).end_input();
    };
    let libraries: [(Run, &str); 2] = [
        (foreign::python, PAHO_METHOD),
        (foreign::node, MQTT_JS_METHOD),
    ];
    // The first token is over within a few seconds, and the second one a few seconds later.
    let renewed = libraries.map(start).map(|mut library| {
        show(&mut library, &token("olga", 5), &token("olga", 9));
        library.expect("connected 0 JWT").expect("renewed 0");
        (library, Instant::now())
    });
    for library in libraries {
        let mut other = start(library);
        show(&mut other, &long, &bob);
        other.expect("connected 0 JWT").expect("disconnected 135");
        let mut other = start(library);
        show(&mut other, &foreign, &long);
        let refused = other.next_line();
        assert!(refused.starts_with("connected 134"), "{refused}");
    }
    for (mut library, since) in renewed {
        library.expect("disconnected 135");
        assert!(
            since.elapsed() > Duration::from_secs(5),
            "it is not renewed"
        );
    }
}

#[test]
fn mosquitto_s_clients_show_each_credential() {
    let scene = Scene::start();
    let ca = scene.ca();
    let mosquitto = |program, version, shown: &Shown, args: &[&str]| {
        let mut command = foreign::mosquitto(program, scene.broker.address());
        command.args(["--cafile", &ca]);
        command.args(["-V", version, "-q", "1"]).args(args);
        if !shown.user.is_empty() {
            command.args(["-u", shown.user]);
        }
        if !shown.secret.is_empty() {
            command.args(["-P", &shown.secret]);
        }
        if shown.own.is_some() {
            let [cert, key] = shown.files();
            command.args(["--cert", &cert, "--key", &key]);
        }
        command
    };
    for (version, user, not_granted) in [("311", "meter-7", 128), ("5", "", 135)] {
        for shown in scene.credentials(user) {
            let (filter, topic) = (
                format!("own/{}/#", shown.name),
                format!("own/{}/x", shown.name),
            );
            let args = ["-d", "-v", "-C", "1", "-t", &filter, "-t", "own/other/#"];
            let mut subscriber = mosquitto("mosquitto_sub", version, &shown, &args);
            let mut subscriber = Process::start(&mut subscriber);
            subscriber.wait_for_line(&format!("Subscribed (mid: 1): 1, {not_granted}"));
            let publish = |topic: &str| {
                let args = ["-t", topic, "-m", "hi"];
                outcome(&mut mosquitto("mosquitto_pub", version, &shown, &args))
            };
            let (code, _, err) = publish("own/other/x");
            assert_eq!(
                (code, err.contains("Not authorized")),
                (Some(0), version == "5"),
                "{err}"
            );
            assert_eq!(publish(&topic).0, Some(0));
            subscriber.wait_for_line(&format!("{topic} hi"));
        }
    }
    for (shown, version) in scene.wrong_credentials().iter().zip(["311", "5", "5", "5"]) {
        let args = ["-t", &format!("own/{}/x", shown.name), "-m", "hi"];
        let (code, _, err) = outcome(&mut mosquitto("mosquitto_pub", version, shown, &args));
        match (&shown.own, version) {
            (Some(_), _) => assert_ne!(code, Some(0)),
            (None, "311") => assert_eq!(code, Some(4), "{err}"),
            (None, _) => assert_eq!(code, Some(134), "{err}"),
        }
    }
}

#[test]
fn curl_shows_each_credential_and_a_cookie() {
    let scene = Scene::start();
    let (port, ca, jar) = (scene.port(), scene.ca(), scene.ca.path("jar"));
    let jar = jar.to_str().expect("text");
    let curl = |args: &[&str], path: &str| {
        let mut curl = installed("curl", "curl");
        curl.args(["-sS", "--cacert", &ca, "-w", " %{http_code}"])
            .args(args);
        outcome(curl.arg(format!("https://localhost:{port}{path}"))).1
    };
    let ways = |shown: &Shown| -> Vec<Vec<String>> {
        let secret = &shown.secret;
        match shown.name {
            "ann" => vec![vec!["-u".to_owned(), format!("ann:{secret}")]],
            "press" => {
                let [cert, key] = shown.files();
                vec![vec!["--cert".to_owned(), cert, "--key".to_owned(), key]]
            }
            _ => vec![
                vec!["--oauth2-bearer".to_owned(), secret.clone()],
                vec!["-u".to_owned(), format!("{}:{secret}", shown.user)],
            ],
        }
    };
    let is_served = |args: &[&str], name: &str| {
        let is_who = curl(args, "/login").starts_with(&format!("{{\"name\":\"{name}\","));
        let [own, other] = [name, "other"].map(|topic| {
            let path = format!("/topics/own/{topic}/x");
            curl(&[args, &["-d", "hi"]].concat(), &path)
        });
        assert!(
            is_who && own.ends_with(" 200") && other.ends_with(" 403"),
            "{args:?}: {own} {other}"
        );
    };
    for shown in scene.credentials("") {
        for way in ways(&shown) {
            is_served(
                &way.iter().map(String::as_str).collect::<Vec<_>>(),
                shown.name,
            );
        }
        if shown.own.is_none() {
            let form = format!("user={}&secret={}", shown.user, shown.secret);
            assert!(curl(&["-c", jar, "-d", &form], "/login").ends_with(" 200"));
            is_served(&["-b", jar], shown.name);
        }
    }
    for (shown, address) in scene.wrong_credentials().iter().zip(1..) {
        for way in ways(shown) {
            let own = format!("127.0.0.{address}");
            let mut args = vec!["--interface", &*own, "-d", "hi"];
            args.extend(way.iter().map(String::as_str));
            let told = curl(&args, &format!("/topics/own/{}/x", shown.name));
            let expected = if shown.own.is_some() { " 000" } else { " 401" };
            assert!(told.ends_with(expected), "{way:?}: {told}");
        }
    }
}

const PYTHON: &str = r#"
import socket, ssl, sys
port, ca, cert, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if cert:
    context.load_cert_chain(cert, key)
stream = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname="localhost")
stream.sendall(sys.stdin.read().encode())
print(stream.makefile().read(), end="")
"#;

#[test]
fn openssl_and_sockets_of_python_show_each_credential_in_lines() {
    let scene = Scene::start();
    let (port, ca) = (scene.port(), scene.ca());
    let openssl = |[cert, key]: &[String; 2]| {
        let mut openssl = installed("openssl", "openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &ca]);
        openssl.arg("-connect").arg(format!("localhost:{port}"));
        if !cert.is_empty() {
            openssl.args(["-cert", cert, "-key", key]);
        }
        openssl
    };
    let python = |[cert, key]: &[String; 2]| foreign::python(PYTHON, &[&port, &ca, cert, key]);
    for program in [&openssl as &dyn Fn(&[String; 2]) -> Command, &python] {
        for shown in scene.credentials("") {
            let (said, expected) = shown.lines();
            let told = Process::start(&mut program(&shown.files()))
                .write(said)
                .rest();
            assert_eq!(told, expected);
        }
    }
    for shown in scene.wrong_credentials() {
        let told = Process::start(&mut openssl(&shown.files()))
            .write(shown.lines().0)
            .rest();
        match shown.own {
            Some(_) => assert_eq!(told, ""),
            // A conversation in lines goes on as before, and that was as anonymous.
            None => assert!(
                told.starts_with("ERROR auth line ") && !told.contains("ACK own/"),
                "{told}"
            ),
        }
    }
}

#[test]
fn a_browser_shows_each_secret_at_the_login_and_its_cookie_from_then_on() {
    let scene = Scene::start();
    // It knows the authority of this test in no other way than by a store of certificates of its own.
    let browser = Browser::with_args(&["--ignore-certificate-errors"]);
    let mut tab = browser.open(&format!("https://localhost:{}/", scene.port()));
    let [_, _, jwt, _] = scene.wrong_credentials();
    for (shown, is_in) in [(jwt, false)]
        .into_iter()
        .chain(scene.credentials("").map(|it| (it, true)))
    {
        if shown.own.is_some() {
            continue;
        }
        tab.log_in(shown.user, &shown.secret);
        if !is_in {
            tab.wait_for_text("You are not logged in: ");
            tab.eval("document.querySelector('#login-user').focus()");
            continue;
        }
        let name = shown.name;
        tab.wait_for(&format!(
            "document.querySelector('#account').innerText.startsWith('{name}')"
        ));
        for (topic, status) in [(name, 200), ("other", 403)] {
            let asked = format!(
                "fetch('topics/own/{topic}/x', {{ method: 'POST', body: 'hi' }}).then(({{ status }}) => status)"
            );
            assert_eq!(tab.eval(&asked), status, "{name} {topic}");
        }
        let asked = "new Promise((done) => { const socket = new WebSocket(`wss://${location.host}/ws`, ['line']); \
                     socket.onopen = () => socket.send('AUTH'); socket.onerror = () => done('refused'); \
                     socket.onmessage = ({ data }) => { done(data.trim()); socket.close(); }; })";
        assert_eq!(tab.eval(asked), format!("AUTHACK {name}"));
        assert_eq!(tab.eval("document.cookie"), "");
        tab.click("#log-out");
    }
}
