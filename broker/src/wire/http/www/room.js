// A room in which people talk: the topics and messages are those of docs/chat.md.

import { words } from "./words.js";
import { Wire, cut, escape, unescape } from "./wire.js";

const MOST_ROWS = 500;
const GATHER_MS = 20;
const $ = (id) => document.getElementById(id);
const random = () => Math.random().toString(36).slice(2, 10);

export const isName = (name) => /^(?![@$])[^\s/+#\p{C}]{1,32}$/u.test(name);

/// The colour of a name, the same for everybody.
function hue(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

function isAtEnd() {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function size() {
  return `${$("log").clientWidth} ${$("log").clientHeight}`;
}

function scrollToEnd() {
  $("log").scrollTop = $("log").scrollHeight;
}

export class Room {
  constructor(room, nick, showState) {
    Object.assign(this, { room, nick });
    this.id = random();
    this.since = new Date().toISOString();
    this.people = new Map();
    this.pending = new Map();
    this.receipts = [];
    this.answered = 0;
    this.rows = [];
    this.isTold = false;
    this.atEnd = true;
    $("where").textContent = room;
    $("log").replaceChildren();
    // The keyboard of a phone takes half of the room there is. What scrolls until that is seen is not
    // the reader.
    this.sizes = new ResizeObserver(() => {
      this.size = size();
      if (this.atEnd) scrollToEnd();
    });
    $("log").onscroll = () => {
      if (this.size === size()) this.atEnd = isAtEnd();
    };
    this.sizes.observe($("log"));
    this.wire = new Wire({
      state: showState,
      open: (again) => this.enter(again),
      frame: (frame) => this.take(frame),
    });
  }

  get presence() {
    return `${this.room}/$who/${this.nick}`;
  }

  enter(again) {
    const { room, nick } = this;
    this.people.clear();
    this.receipts = [];
    this.answered = 0;
    this.isTold = false;
    this.wire.send(`NAME ${nick}`);
    this.wire.send(`SUBSCRIBE ${room} ${room}/@${nick} ${room}/$who/+`);
    this.wire.send(`@retain WILL ${this.presence}`);
    this.appear();
    if (again) this.note(words.backAgain);
    for (const [id, { to, message }] of this.pending) this.publish(id, to, message);
  }

  appear() {
    const { nick, since, id } = this;
    const presence = JSON.stringify({ nick, since, id });
    this.count(`@retain PUBLISH ${this.presence} ${escape(presence)}`);
  }

  /// Publishes, and remembers whom its receipt concerns.
  count(line, to) {
    if (this.wire.send(line)) this.receipts.push(to);
  }

  leave() {
    this.wire.send(`@retain PUBLISH ${this.presence}`);
    this.wire.end();
    this.sizes.disconnect();
  }

  say(message, to) {
    const id = random();
    const row = this.add({ nick: this.nick, message, to, isPending: true });
    this.pending.set(id, { to, message, row });
    this.publish(id, to, message);
  }

  publish(id, to, message) {
    const { nick, room } = this;
    const topic = to ? `${room}/@${to}` : room;
    this.count(`@id=${id} PUBLISH ${topic} ${escape(JSON.stringify({ nick, message }))}`, to && { to, id });
  }

  take({ verb, rest, attributes }) {
    if (verb === "MESSAGE") {
      const [topic, payload] = cut(rest);
      this.takeMessage(topic, unescape(payload), attributes);
    } else if (verb === "GAP") {
      this.note(words.gap(rest));
    } else if (verb === "ERROR") {
      this.note(words.refused(rest));
    } else if (verb === "PUBACK") {
      this.takeReceipt(...rest.split(" ").map(Number));
    }
  }

  /// One may cover several messages, and then it does not tell which of them reached nobody.
  takeReceipt(answered, copies) {
    const covered = this.receipts.splice(0, answered - this.answered);
    this.answered = answered;
    for (const receipt of covered) {
      if (!receipt) continue;
      this.settle(receipt.id);
      if (copies > 0 || covered.length > 1) continue;
      const { to } = receipt;
      this.note(this.people.has(to) ? words.takesNoPrivate(to) : words.notHere(to));
    }
  }

  takeMessage(topic, payload, attributes) {
    const { room } = this;
    if (topic.startsWith(`${room}/$who/`)) {
      return this.takePresence(topic.slice(room.length + 6), payload, attributes.retained);
    }
    let said;
    try {
      said = JSON.parse(payload);
    } catch {
      said = null;
    }
    const known = typeof said?.nick === "string" && typeof said?.message === "string";
    const nick = known ? said.nick : "?";
    const message = known ? said.message : payload;
    if (attributes.id && this.settle(attributes.id)) return;
    this.add({ nick, message, to: topic === room ? undefined : this.nick, isOld: attributes.retained });
  }

  /// What was sent has come back; returns whether it was ours.
  settle(id) {
    const sent = this.pending.get(id);
    if (!sent) return false;
    sent.row.classList.remove("pending");
    return this.pending.delete(id);
  }

  takePresence(nick, payload, isRetained) {
    if (payload) {
      const isNew = !this.people.has(nick);
      this.people.set(nick, payload);
      if (nick === this.nick && !this.isTold) {
        this.isTold = true;
        this.note(words.isHere(nick, this.room));
      } else if (isNew && !isRetained) {
        this.note(words.joined(nick));
      }
    } else if (nick === this.nick) {
      // Somebody of the same name has left, and this one is still here.
      if (this.people.has(nick)) this.appear();
    } else if (this.people.delete(nick)) {
      this.note(words.left(nick));
    }
    this.showPeople();
  }

  showPeople() {
    const names = [...this.people.keys()].sort((a, b) => a.localeCompare(b));
    $("people").replaceChildren(...names.map((name) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dir = "auto";
      button.style.setProperty("--hue", hue(name));
      button.textContent = name === this.nick ? `${name} (${words.you})` : name;
      button.disabled = name === this.nick;
      button.title = words.privateHint(name);
      button.onclick = () => this.address(name);
      item.append(button);
      return item;
    }));
  }

  /// What is written next goes to this person alone, or to all.
  address(nick) {
    this.to = nick;
    const chip = $("private");
    chip.hidden = !nick;
    chip.textContent = nick ? words.privateTo(nick) : "";
    chip.onclick = () => this.address();
    $("text").focus();
  }

  note(text) {
    const row = document.createElement("li");
    row.className = "note";
    row.textContent = text;
    this.append(row);
  }

  add({ nick, message, to, isPending, isOld }) {
    const row = document.createElement("li");
    row.classList.toggle("pending", Boolean(isPending));
    row.classList.toggle("private", Boolean(to));
    row.classList.toggle("mine", nick === this.nick);
    const name = document.createElement("bdi");
    name.className = "nick";
    name.style.setProperty("--hue", hue(nick));
    name.textContent = to ? `${nick} → ${to}` : nick;
    const time = document.createElement("time");
    time.textContent = isOld ? "" : new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const body = document.createElement("p");
    body.dir = "auto";
    body.textContent = message;
    row.append(name, time, body);
    this.append(row);
    return row;
  }

  /// Rows are put in place some at a time, however many come; by a timer, as a page that is not looked
  /// at is given no frames.
  append(row) {
    if (this.rows.push(row) === 1) setTimeout(() => this.show(), GATHER_MS);
    if (this.rows.length > MOST_ROWS) this.rows.shift();
  }

  show() {
    const log = $("log");
    const atEnd = isAtEnd();
    log.append(...this.rows.splice(0));
    while (log.childElementCount > MOST_ROWS) log.firstElementChild.remove();
    if (atEnd) scrollToEnd();
  }
}
