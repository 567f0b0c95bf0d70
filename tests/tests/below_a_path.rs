//! Promises of `docs/proxies.md` on paths and on proxies that are told nothing: the page, HTTP, streams and
//! WebSocket through each proxy.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::frames::FrameClient;
use tests::mqtt::{Hello, Mqtt};
use tests::{Browser, NetworkProxy, Process, ProxyProgram, TestBroker, eventually, installed};

/// The configuration for a path that the document shows in this language.
#[track_caller]
fn shown(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies.md");
    let text = fs::read_to_string(path).expect("the document is there");
    let (_, section) = text.split_once("\n## Below a path\n").expect("a section");
    let fence = format!("```{language}\n");
    let (_, block) = section.split_once(&fence).expect("it shows one");
    let (block, _) = block.split_once("```").expect("a block ends");
    block.to_owned()
}

fn url(proxy: &NetworkProxy, path: &str) -> String {
    format!("http://localhost:{}/broker/{path}", proxy.web().port())
}

fn curl(proxy: &NetworkProxy, path: &str) -> Command {
    let mut curl = installed("curl", "curl");
    curl.args(["-sSN", "--max-time", "60", &url(proxy, path)]);
    curl
}

/// Publishes through the proxy, and hears it in a stream of each format.
#[track_caller]
fn check_http(proxy: &NetworkProxy, formats: &[&str]) {
    for format in formats {
        let path = format!("topics/a?format={format}&count=1");
        let mut stream = Process::start(&mut curl(proxy, &path));
        let mut receipt = String::new();
        // The subscription is in effect when a message has a copy.
        eventually("the stream has begun", || {
            let publish = Process::start(curl(proxy, "topics/a").args(["-d", "hi"])).end();
            receipt = String::from_utf8_lossy(&publish.1).into_owned();
            receipt.contains("\"copies\":1")
        });
        let out = stream.rest();
        assert!(out.contains("hi"), "{format}: {out}");
        let (status, ..) = stream.end();
        assert!(status.success(), "{format}: {status}");
    }
}

/// Enters a room with two browsers' tabs.
#[track_caller]
fn check_page(proxy: &NetworkProxy) {
    let browser = Browser::start();
    let mut ann = browser.open(&url(proxy, ""));
    ann.wait_for("document.activeElement.id === 'nick'");
    ann.type_into("#nick", "ann");
    ann.press("Enter");
    ann.wait_for_text("You are ann in lobby.");
    let mut bob = browser.open(&url(proxy, "chat?room=lobby&nick=bob"));
    bob.wait_for_text("You are bob in lobby.");
    bob.type_into("#text", "good morning");
    bob.press("Enter");
    ann.wait_for_text("good morning");
    let mut live = browser.open(&url(proxy, "#live"));
    live.wait_for("document.querySelector('#clients').innerText.includes('websocket')");
    for tab in [&mut ann, &mut bob, &mut live] {
        assert_eq!(tab.complaints(), Vec::<String>::new());
    }
}

#[track_caller]
fn check_websocket(proxy: &NetworkProxy) {
    let mut line = FrameClient::open(proxy.web(), "/broker/ws", None);
    line.send_frame(0x81, b"PING").expect(0x81, "PONG\n");
    let mut mqtt = FrameClient::open(proxy.web(), "/broker/mqtt", Some("mqtt"));
    mqtt.send_frame(0x82, &Hello::new("").encode(Mqtt::V3))
        .expect(0x82, [0x20, 2, 0, 0]);
}

/// All of it, with this configuration.
#[track_caller]
fn check(program: ProxyProgram, language: &str) {
    let broker = TestBroker::start();
    let proxy = NetworkProxy::start(program, &shown(language), broker.address());
    check_http(&proxy, &["sse", "json", "raw"]);
    check_websocket(&proxy);
    check_page(&proxy);
}

#[test]
fn all_of_it_works_below_a_path_of_nginx() {
    check(ProxyProgram::Nginx, "nginx");
}

#[test]
fn all_of_it_works_below_a_path_of_haproxy() {
    check(ProxyProgram::Haproxy, "haproxy");
}

#[test]
fn all_of_it_works_below_a_path_of_caddy() {
    check(ProxyProgram::Caddy, "caddy");
}

#[test]
fn the_host_that_nginx_names_by_itself_needs_the_origin_of_the_site() {
    let without_host = shown("nginx").replace("proxy_set_header Host $http_host;", "");
    let strict = TestBroker::start();
    let proxy = NetworkProxy::start(ProxyProgram::Nginx, &without_host, strict.address());
    let browser = Browser::start();
    let mut page = browser.open(&url(&proxy, "chat?room=lobby&nick=ann"));
    // The page is there, and its socket is that of another site.
    page.wait_for_text("Connection lost");
    strict.wait_for_log("it is refused: 403 Forbidden: pages of http://localhost:");
    let open = TestBroker::with_args(&["--allow-origin", "*"]);
    let proxy = NetworkProxy::start(ProxyProgram::Nginx, &without_host, open.address());
    check_page(&proxy);
}

#[test]
fn nginx_that_is_told_nothing_has_http_and_streams() {
    let broker = TestBroker::start();
    let is_setting = |line: &&str| line.contains("proxy_") && !line.contains("proxy_pass");
    let shown = shown("nginx");
    let kept: Vec<&str> = shown.lines().filter(|line| !is_setting(line)).collect();
    let proxy = NetworkProxy::start(ProxyProgram::Nginx, &kept.join("\n"), broker.address());
    check_http(&proxy, &["sse", "json"]);
}
