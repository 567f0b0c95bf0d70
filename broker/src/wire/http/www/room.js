// A room in which people talk: the topics and messages are those of docs/chat.md.

import { words } from "./words.js";
import { Wire, cut, escape, unescape } from "./wire.js";

const MOST_ROWS = 500;
// So many messages of before are shown, if the room keeps what is said.
const OLD_ROWS = 50;
const GATHER_MS = 20;
const $ = (id) => document.getElementById(id);
const random = () => Math.random().toString(36).slice(2, 10);

// As in `client chat`: one level of a topic, in any script, without characters that end a line, turn
// the direction of text or command a terminal.
export const isNick = (name) => /^[^\s/+#\p{Cc}\p{Bidi_Control}\u2028\u2029]{1,32}$/u.test(name);
export const isRoom = (name) => isNick(name) && !name.startsWith("$");

const VERBS = ["who", "msg", "join", "nick", "help", "quit"];

/// What a typed line asks for, with the commands of `client chat`.
export function parseInput(line) {
  if (line.trim() === "bye") return { verb: "quit" };
  if (!line.startsWith("/")) return { verb: "say", text: line };
  if (line.startsWith("//")) return { verb: "say", text: line.slice(1) };
  const [, verb, rest] = line.slice(1).match(/^(\S*)\s*([^]*)$/);
  if (!VERBS.includes(verb)) return { wrong: words.noCommand(verb) };
  if (verb === "msg") {
    const [, nick, text] = rest.match(/^(\S*)\s*([^]*)$/);
    if (!text) return { wrong: words.incomplete("/msg NICK TEXT") };
    return isNick(nick) ? { verb, name: nick, text } : { wrong: words.badName(words.nick) };
  }
  if (verb === "join" || verb === "nick") {
    if (!rest) return { wrong: words.incomplete(verb === "join" ? "/join ROOM" : "/nick NAME") };
    if (verb === "join") return isRoom(rest) ? { verb, name: rest } : { wrong: words.badName(words.roomName, true) };
    return isNick(rest) ? { verb, name: rest } : { wrong: words.badName(words.nick) };
  }
  return rest ? { wrong: words.alone(verb) } : { verb };
}

/// The id in a presence, which stays the same when the nick changes.
function idOf(presence) {
  try {
    return JSON.parse(presence)?.id ?? null;
  } catch {
    return null;
  }
}

/// The payload of a message. Programs know it by one of two pairs of keys, so both are written.
function written(nick, message) {
  return JSON.stringify({ nick, message, user: nick, say: message });
}

/// Who said what in a payload, by either pair of keys; any other payload is a text without a nick.
function read(payload) {
  let said;
  try {
    said = JSON.parse(payload);
  } catch {
    said = null;
  }
  const first = (...keys) => keys.map((key) => said?.[key]).find((value) => typeof value === "string");
  const [nick, message] = [first("nick", "user"), first("message", "say")];
  return nick === undefined || message === undefined ? { nick: "?", message: payload } : { nick, message };
}

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
    // Each nick with the id of its client, or null.
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

  /// The broker refuses wildcards there, so neither the live view nor a logger gets what is private.
  privateTopic(nick) {
    return `$private/${nick}/${this.room}`;
  }

  enter(again) {
    const { room, nick } = this;
    this.people.clear();
    this.receipts = [];
    this.answered = 0;
    this.isTold = false;
    this.wire.send(`NAME ${nick}`);
    // What was said meanwhile comes, if it is kept.
    const begin = this.position ? `since=${this.position}` : `last=${OLD_ROWS}`;
    this.wire.send(`@${begin} SUBSCRIBE ${room}`);
    this.wire.send(`SUBSCRIBE ${this.privateTopic(nick)} ${room}/$who/+`);
    this.wire.send(`@retain WILL ${this.presence}`);
    this.appear();
    if (again) this.note(this.position ? words.backAgainAndKept : words.backAgain);
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

  /// Does what a typed line asks for, if it concerns this room alone.
  obey({ verb, name, text, wrong }) {
    if (wrong) this.note(wrong);
    else if (verb === "say") this.say(text, this.to);
    else if (verb === "msg") this.say(text, name);
    else if (verb === "who") this.note(words.whoIsHere(this.names, this.nick, this.room));
    else if (verb === "help") words.help.forEach((line) => this.note(line));
    else if (verb === "nick") this.rename(name);
  }

  rename(nick) {
    const { nick: old, presence } = this;
    if (nick === old) return;
    const isOurs = this.people.get(old) === this.id;
    const isTaken = this.people.has(nick);
    this.wire.send(`SUBSCRIBE ${this.privateTopic(nick)}`);
    this.nick = nick;
    // The new presence comes before the end of the old one, so that others can follow the change.
    this.appear();
    if (isOurs) {
      this.count(`@retain PUBLISH ${presence}`);
      this.people.delete(old);
    }
    this.wire.send(`@retain WILL ${this.presence}`);
    this.wire.send(`NAME ${nick}`);
    this.wire.send(`UNSUBSCRIBE ${this.privateTopic(old)}`);
    this.note(words.youRenamed(nick));
    if (isTaken) this.note(words.taken(nick));
  }

  leave() {
    // Another client of this name keeps its presence.
    const known = this.people.get(this.nick);
    if (known === undefined || known === this.id) this.wire.send(`@retain PUBLISH ${this.presence}`);
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
    const topic = to ? this.privateTopic(to) : room;
    this.count(`@id=${id} PUBLISH ${topic} ${escape(written(nick, message))}`, to && { to, id });
  }

  take({ verb, rest, attributes }) {
    if (verb === "MESSAGE") {
      const [topic, payload] = cut(rest);
      if (topic === this.room && attributes.pos) this.position = attributes.pos;
      this.takeMessage(topic, unescape(payload), attributes);
    } else if (verb === "CURRENT") {
      const [, position] = cut(rest);
      this.position = position || undefined;
    } else if (verb === "SUBACK" && attributes.incomplete) {
      this.note(words.incompletePast);
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
    const { nick, message } = read(payload);
    if (attributes.id && this.settle(attributes.id)) return;
    this.add({ nick, message, to: topic === room ? undefined : this.nick, isOld: attributes.retained || attributes.past });
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
      const id = idOf(payload);
      const known = this.people.get(nick);
      const old = id && [...this.people].find(([name, other]) => name !== nick && other === id)?.[0];
      this.people.set(nick, id);
      if (nick === this.nick) {
        if (!this.isTold) this.note(words.isHere(nick, this.room));
        this.isTold = true;
        if (id !== this.id && id !== known) this.note(words.taken(nick));
      } else if (known === undefined && !isRetained) {
        if (old) this.people.delete(old);
        this.note(old ? words.renamed(old, nick) : words.joined(nick));
      }
    } else if (nick === this.nick) {
      // Another client of this name has left, and this one is still here.
      if (this.people.has(nick)) this.appear();
    } else if (this.people.delete(nick)) {
      this.note(words.left(nick));
    }
    this.showPeople();
  }

  get names() {
    return [...this.people.keys()].sort((a, b) => a.localeCompare(b));
  }

  showPeople() {
    $("people-count").textContent = words.count(this.people.size);
    $("people").replaceChildren(...this.names.map((name) => {
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
