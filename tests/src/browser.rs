//! A real Chromium without a screen, driven through its own protocol (CDP) over WebSocket.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::process::Process;
use crate::{PATIENCE, installed};

/// A running browser. Dropping it ends it and removes what it has written.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    address: String,
    _profile: TempDir,
}

/// A tab of it.
pub struct Tab {
    socket: WebSocket<TcpStream>,
    asked: u64,
    /// What its console and its errors have said.
    said: Vec<String>,
}

impl Browser {
    /// A browser with a profile of its own.
    #[track_caller]
    pub fn start() -> Self {
        Self::with_args(&[])
    }

    /// The same with further arguments.
    #[track_caller]
    pub fn with_args(args: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command: Command = installed("chromium", "chromium");
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            // What an invisible tab does slowly would be waited for here.
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
        ]);
        command.args(args);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let process = Process::start(&mut command);
        process.wait_for_complaint("/devtools/browser/");
        let said = process.complaints();
        let address = said
            .split("ws://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address = address.expect("it says where it listens").to_owned();
        Self {
            process,
            address,
            _profile: profile,
        }
    }

    /// A new tab that shows this page.
    #[track_caller]
    pub fn open(&self, page: &str) -> Tab {
        let mut browser = self.connect(&self.browser_path());
        let id = call(
            &mut browser,
            1,
            "Target.createTarget",
            &json!({ "url": "about:blank" }),
        );
        let id = id["targetId"]
            .as_str()
            .expect("a new tab has a number")
            .to_owned();
        let socket = self.connect(&format!("/devtools/page/{id}"));
        let mut tab = Tab {
            socket,
            asked: 0,
            said: Vec::new(),
        };
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab.call("Page.navigate", &json!({ "url": page }));
        tab
    }

    fn browser_path(&self) -> String {
        let said = self.process.complaints();
        let rest = said
            .split("/devtools/browser/")
            .nth(1)
            .expect("it has said so");
        format!(
            "/devtools/browser/{}",
            rest.lines().next().unwrap_or_default()
        )
    }

    #[track_caller]
    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("the browser listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a connected socket");
        let address = format!("ws://{}{path}", self.address);
        let (socket, _) =
            tungstenite::client(address, stream).expect("the browser speaks WebSocket");
        socket
    }
}

impl Tab {
    /// What is true when the broker's page asks who its user is.
    pub const ASKS_WHO: &str = "document.activeElement.id === 'login-user' && ['room', 'live', 'views', 'account'] \
                                .every((id) => document.getElementById(id).hidden)";

    /// Fills in the login of the broker's page when it asks, and sends it.
    #[track_caller]
    pub fn log_in(&mut self, user: &str, secret: &str) {
        self.wait_for(Self::ASKS_WHO);
        self.eval("document.querySelector('#login-user').value = ''");
        self.type_into("#login-user", user);
        self.type_into("#login-secret", secret);
        self.press("Enter");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &asked);
        let wrong = &answer["exceptionDetails"];
        assert!(wrong.is_null(), "{expression}: {wrong}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        // The page itself waits, so that nothing is asked again and again.
        let waiting = format!(
            "new Promise((done) => {{ const end = Date.now() + 2000; const look = () => {{ \
             let is; try {{ is = {expression} }} catch {{ is = false }} \
             if (is || Date.now() > end) done(Boolean(is)); else setTimeout(look, 20); }}; look(); }})"
        );
        let asked = json!({ "expression": waiting, "returnByValue": true, "awaitPromise": true });
        // An error says that the page is on its way to another.
        let is_so = |answer: Result<Value, String>| {
            answer.is_ok_and(|answer| answer["result"]["value"] == true)
        };
        while !is_so(self.try_call("Runtime.evaluate", &asked)) {
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText");
                panic!(
                    "never true: {expression}\nthe page: {text}\nit said: {:?}",
                    self.said
                );
            }
        }
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        let text = json!(text);
        self.wait_for(&format!("document.body.innerText.includes({text})"));
    }

    /// Types into a field, as a person would.
    #[track_caller]
    pub fn type_into(&mut self, selector: &str, text: &str) {
        let selector = json!(selector);
        self.eval(&format!("document.querySelector({selector}).focus()"));
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Presses a key.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let pressed =
                json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": 13 });
            self.call("Input.dispatchKeyEvent", &pressed);
        }
    }

    /// Clicks what this selects.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        self.eval(&format!("document.querySelector({selector}).click()"));
    }

    /// Gives the page a size in pixels, and day or night.
    #[track_caller]
    pub fn look(&mut self, width: u32, height: u32, scheme: &str) {
        // A tab behind another is drawn no frames.
        self.call("Page.bringToFront", &json!({}));
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Keeps a picture of what is to be seen.
    #[track_caller]
    pub fn picture(&mut self, file: &Path) {
        // A tab behind another is drawn no frames.
        self.call("Page.bringToFront", &json!({}));
        // Twice a frame, so that what was just added is there.
        self.eval(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
        );
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let picture = picture["data"].as_str().expect("a picture");
        let bytes = STANDARD.decode(picture).expect("the browser sends Base64");
        fs::write(file, bytes).expect("the folder of the artefacts can be written to");
    }

    /// Errors and warnings of the page, those of a lost connection aside.
    pub fn complaints(&mut self) -> Vec<String> {
        self.eval("0");
        let lost = |text: &String| text.contains("WebSocket") || text.contains("ERR_CONNECTION");
        self.said
            .iter()
            .filter(|text| !lost(text))
            .cloned()
            .collect()
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.try_call(method, params);
        answer.unwrap_or_else(|err| panic!("{method}: {err}"))
    }

    #[track_caller]
    fn try_call(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.asked += 1;
        let asked = json!({ "id": self.asked, "method": method, "params": params });
        send(&mut self.socket, &asked);
        loop {
            let answer = receive(&mut self.socket);
            if answer["id"] == self.asked {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    err => Err(err.to_string()),
                };
            }
            match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.said.push(answer["params"].to_string()),
                Some("Log.entryAdded") => self.said.push(answer["params"]["entry"].to_string()),
                _ => {}
            }
        }
    }
}

#[track_caller]
fn call(socket: &mut WebSocket<TcpStream>, id: u64, method: &str, params: &Value) -> Value {
    send(
        socket,
        &json!({ "id": id, "method": method, "params": params }),
    );
    loop {
        let answer = receive(socket);
        if answer["id"] == id {
            return answer["result"].clone();
        }
    }
}

#[track_caller]
fn send(socket: &mut WebSocket<TcpStream>, asked: &Value) {
    let text = Message::text(asked.to_string());
    socket.send(text).expect("the browser takes it");
}

#[track_caller]
fn receive(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read().expect("the browser answers") {
            Message::Text(text) => return serde_json::from_str(&text).expect("it speaks JSON"),
            _ => continue,
        }
    }
}
