// What goes on at the broker now: topics, connections, and frames sent by hand.

import { words } from "./words.js";
import { get } from "./login.js";
import { Wire, cut, unescape, escape } from "./wire.js";

const ROW_PX = 30;
const SAMPLES = 40;
const MOST_FRAMES = 300;
const MOST_SHOWN = 200;
const OPEN_CHILDREN = 50;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

class Node {
  constructor(name, topic, level) {
    Object.assign(this, { name, topic, level });
    this.children = new Map();
    this.value = null;
    this.now = 0;
    this.rate = 0;
    this.samples = null;
    this.isOpen = null;
  }

  get isExpanded() {
    return this.isOpen ?? this.children.size <= OPEN_CHILDREN;
  }

  sample() {
    this.rate = this.now;
    if (this.now || this.samples) {
      this.samples ??= new Float32Array(SAMPLES);
      this.samples.copyWithin(0, 1);
      this.samples[SAMPLES - 1] = this.now;
    }
    this.now = 0;
  }
}

export class Live {
  constructor(showState) {
    this.root = new Node("", "", -1);
    this.count = 0;
    this.all = [];
    this.rows = [];
    this.selected = 0;
    this.showState = showState;
    this.pool = [];
    $("tree").onscroll = () => this.draw();
    new ResizeObserver(() => this.draw()).observe($("tree"));
    $("tree").onkeydown = (event) => this.key(event);
    $("tree").onclick = (event) => this.click(event);
    $("topic-filter").oninput = () => this.refresh();
    $("hand-publish").onsubmit = (event) => this.publish(event);
    $("hand-subscribe").onsubmit = (event) => this.subscribe(event, "SUBSCRIBE");
    $("hand-unsubscribe").onclick = (event) => this.subscribe(event, "UNSUBSCRIBE");
    $("why").onsubmit = (event) => this.why(event);
  }

  start() {
    if (this.wire) return;
    this.wire = new Wire({
      state: this.showState,
      open: () => {
        this.wire.send("NAME live view");
        // Of each topic the newest is enough for a page that is slow.
        this.wire.send("@slow=latest SUBSCRIBE #");
      },
      frame: ({ verb, rest, attributes }) => {
        if (verb === "MESSAGE") this.take(...cut(rest), attributes.retained);
      },
    });
    this.timers = [setInterval(() => this.tick(), 1000), setInterval(() => this.showClients(), 2000)];
    this.showClients();
  }

  stop() {
    this.timers?.forEach(clearInterval);
    this.wire?.end();
    this.hand?.end();
    this.wire = this.hand = null;
  }

  /// A retained message was published before this view was opened: it is a value and no traffic.
  take(topic, payload, isRetained) {
    let node = this.root;
    let path = "";
    for (const level of topic.split("/")) {
      path = node === this.root ? level : `${path}/${level}`;
      let child = node.children.get(level);
      if (!child) {
        child = new Node(level, path, node.level + 1);
        node.children.set(level, child);
        this.all.push(child);
      }
      node = child;
      if (!isRetained) node.now += 1;
    }
    if (node.value === null) this.count += 1;
    node.value = payload;
    this.isChanged = true;
  }

  tick() {
    for (const node of this.all) node.sample();
    this.refresh();
  }

  /// Lists the rows that are open, and draws those in sight.
  refresh() {
    const wanted = $("topic-filter").value.toLowerCase();
    const rows = [];
    const walk = (node) => {
      const children = [...node.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      for (const child of children) {
        if (wanted) {
          if (child.value !== null && child.topic.toLowerCase().includes(wanted)) rows.push(child);
          walk(child);
        } else {
          rows.push(child);
          if (child.isExpanded) walk(child);
        }
      }
    };
    walk(this.root);
    this.rows = rows;
    this.isFlat = Boolean(wanted);
    $("tree-space").style.height = `${rows.length * ROW_PX}px`;
    const shown = wanted ? rows.length : this.count;
    $("topic-count").textContent = words.topicCount(shown, this.count);
    this.draw();
  }

  draw() {
    const tree = $("tree");
    const first = Math.max(0, Math.floor(tree.scrollTop / ROW_PX) - 3);
    const last = Math.min(this.rows.length, Math.ceil((tree.scrollTop + tree.clientHeight) / ROW_PX) + 3);
    while (this.pool.length < last - first) this.pool.push(this.newRow());
    this.pool.forEach((row, at) => {
      const node = first + at < last ? this.rows[first + at] : null;
      row.element.hidden = !node;
      if (node) this.fill(row, node, first + at);
    });
  }

  newRow() {
    const element = document.createElement("div");
    element.className = "topic";
    element.setAttribute("role", "treeitem");
    const part = (name) => {
      const span = document.createElement("span");
      span.className = name;
      element.append(span);
      return span;
    };
    const row = { element, mark: part("mark"), name: part("name"), value: part("value"), rate: part("rate") };
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    row.line = document.createElementNS(SVG, "polyline");
    svg.append(row.line);
    element.append(svg);
    row.name.dir = row.value.dir = "auto";
    $("tree-space").append(element);
    return row;
  }

  fill(row, node, at) {
    const { element } = row;
    element.dataset.at = at;
    element.id = `topic-${at}`;
    element.style.transform = `translateY(${at * ROW_PX}px)`;
    element.style.setProperty("--level", this.isFlat ? 0 : node.level);
    element.setAttribute("aria-level", node.level + 1);
    element.setAttribute("aria-selected", at === this.selected);
    const branches = node.children.size > 0 && !this.isFlat;
    if (branches) element.setAttribute("aria-expanded", node.isExpanded);
    else element.removeAttribute("aria-expanded");
    row.mark.textContent = branches ? (node.isExpanded ? "▾" : "▸") : "";
    row.name.textContent = this.isFlat ? node.topic : node.name || "∅";
    row.value.textContent = node.value === null ? "" : unescape(node.value.slice(0, MOST_SHOWN));
    row.rate.textContent = node.rate ? words.rate(node.rate) : "";
    const most = node.samples ? Math.max(1, ...node.samples) : 1;
    const points = node.samples ? Array.from(node.samples, (value, x) => `${x},${19 - (18 * value) / most}`) : [];
    row.line.setAttribute("points", points.join(" "));
  }

  click(event) {
    const element = event.target.closest(".topic");
    if (!element) return;
    this.selected = Number(element.dataset.at);
    this.toggle(this.rows[this.selected]);
    $("tree").setAttribute("aria-activedescendant", element.id);
  }

  toggle(node, isOpen = !node.isExpanded) {
    if (node.value !== null) $("why-topic").value = node.topic;
    node.isOpen = isOpen;
    this.refresh();
  }

  key(event) {
    const node = this.rows[this.selected];
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      this.selected = Math.max(0, Math.min(this.rows.length - 1, this.selected + moves[event.key]));
      const tree = $("tree");
      const top = this.selected * ROW_PX;
      if (top < tree.scrollTop) tree.scrollTop = top;
      if (top + ROW_PX > tree.scrollTop + tree.clientHeight) tree.scrollTop = top + ROW_PX - tree.clientHeight;
      this.draw();
      tree.setAttribute("aria-activedescendant", `topic-${this.selected}`);
    } else if (node && event.key === "ArrowRight") this.toggle(node, true);
    else if (node && event.key === "ArrowLeft") this.toggle(node, false);
    else if (node && event.key === "Enter") this.toggle(node);
    else return;
    event.preventDefault();
  }

  async showClients() {
    try {
      const { connections } = await get("api/clients?limit=200");
      $("clients").replaceChildren(...connections.map((client) => {
        const dropped = Object.values(client.dropped).reduce((sum, count) => sum + count, 0);
        const row = document.createElement("tr");
        const cells = [client.name ?? client.peer, client.wire, client.subscriptions, client.waiting, dropped];
        row.append(...cells.map((text) => cell(text)));
        row.title = `${client.id} · ${client.peer} · ${client.filters.join(" ")}`;
        row.classList.toggle("warn", client.waiting > 0 || dropped > 0);
        return row;
      }));
    } catch {
      // The next attempt is two seconds away, and the state is shown above.
    }
  }

  /// The connection for what is done by hand, which is made when it is first used.
  speak(...lines) {
    if (this.hand?.isOpen) return lines.forEach((line) => this.hand.send(line));
    this.hand?.end();
    this.hand = new Wire({
      open: () => lines.splice(0).forEach((line) => this.hand.send(line)),
      frame: (_, line) => this.log("in", line),
      sent: (line) => this.log("out", line),
    });
  }

  publish(event) {
    event.preventDefault();
    const retain = $("hand-retain").checked ? "@retain " : "";
    const payload = $("hand-payload").value;
    this.speak(`${retain}PUBLISH ${$("hand-topic").value}${payload ? ` ${escape(payload)}` : ""}`);
  }

  subscribe(event, verb) {
    event.preventDefault();
    this.speak(`${verb} ${$("hand-filter").value}`);
  }

  log(direction, line) {
    const log = $("frames");
    const row = document.createElement("li");
    row.className = direction;
    row.title = direction === "in" ? words.fromBroker : words.toBroker;
    row.textContent = line.length > 2000 ? `${line.slice(0, 2000)} …` : line;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    log.append(row);
    while (log.childElementCount > MOST_FRAMES) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  async why(event) {
    event.preventDefault();
    let lines;
    try {
      lines = explain(await get(`api/why?topic=${encodeURIComponent($("why-topic").value)}`));
    } catch (err) {
      lines = [words.failed(err.message)];
    }
    $("why-answer").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  }
}

function cell(text) {
  const element = document.createElement("td");
  element.textContent = text;
  return element;
}

function explain({ matching, near, retained, seen }) {
  const names = ({ holders, total }) => {
    const known = holders.slice(0, 5).map((holder) => `${holder.name ?? holder.peer}${holder.is_full ? words.whyFull : ""}`);
    return total > known.length ? `${known.join(", ")} … (${total})` : known.join(", ");
  };
  return [
    ...(matching.length ? matching.map((each) => words.whyHolds(each.filter, names(each))) : [words.whyNobody]),
    ...near.map((each) => words.whyNear(each.filter, names(each))),
    seen ? words.whySeen(seen.messages, Math.round(seen.last_s)) : words.whyUnseen,
    retained ? words.whyRetained(retained.bytes) : words.whyNotRetained,
  ];
}
