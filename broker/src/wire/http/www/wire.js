// A connection that speaks the line protocol over WebSocket, and comes back when it is lost.

import { demandLogin } from "./login.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 8000;

const ESCAPES = { "\n": "\\n", "\r": "\\r", "\\": "\\\\" };
const UNESCAPES = { "\\n": "\n", "\\r": "\r", "\\\\": "\\" };

export const escape = (payload) => payload.replace(/[\n\r\\]/g, (letter) => ESCAPES[letter]);
export const unescape = (payload) => payload.replace(/\\[nr\\]/g, (pair) => UNESCAPES[pair]);

/// A line as its parts: attributes, verb, what follows.
export function parse(line) {
  let attributes = {};
  if (line.startsWith("@")) {
    const end = line.indexOf(" ");
    for (const each of line.slice(1, end).split(";")) {
      const at = each.indexOf("=");
      attributes[at < 0 ? each : each.slice(0, at)] = at < 0 ? true : each.slice(at + 1);
    }
    line = line.slice(end + 1);
  }
  const [verb, rest] = cut(line);
  return { attributes, verb, rest };
}

/// What stands before the first space and behind it.
export function cut(text) {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

export class Wire {
  /// `open(again)` is called at each beginning, `frame(parsed, line)` for each line that comes, `state(name, seconds)`
  /// when the connection changes, `sent(line)` for what goes out.
  constructor(handlers) {
    this.handlers = handlers;
    this.pause = FIRST_PAUSE_MS;
    this.times = 0;
    this.ended = false;
    this.connect();
  }

  connect() {
    if (this.ended) return;
    this.state("connecting");
    // Relative to the page, which may be below a path of a proxy.
    const address = new URL("ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, "line");
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.pause = FIRST_PAUSE_MS;
      this.state("connected");
      this.handlers.open?.(this.times++ > 0);
    };
    socket.onmessage = ({ data }) => {
      const text = typeof data === "string" ? data : new TextDecoder().decode(data);
      for (const line of text.split("\n")) if (line) this.take(line);
    };
    socket.onclose = () => {
      if (this.socket !== socket || this.ended) return;
      const pause = this.pause * (0.75 + Math.random() / 2);
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
      this.state("lost", Math.ceil(pause / 1000));
      this.timer = setTimeout(() => this.connect(), pause);
    };
  }

  take(line) {
    const parsed = parse(line);
    if (parsed.verb === "ERROR" && parsed.rest.startsWith("auth ")) demandLogin();
    if (parsed.verb === "PING") this.send(`PONG ${parsed.rest}`.trimEnd());
    this.handlers.frame?.(parsed, line);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /// Returns whether it could be sent.
  send(line) {
    if (!this.isOpen) return false;
    this.socket.send(line);
    this.handlers.sent?.(line);
    return true;
  }

  state(name, seconds) {
    this.handlers.state?.(name, seconds);
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.send("BYE");
    this.socket.close();
  }
}
