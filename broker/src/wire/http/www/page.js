// The page: which of its two views is shown or the form to log in, and the way into a room.

import { place, words } from "./words.js";
import { Live } from "./live.js";
import { Login } from "./login.js";
import { Room, isNick, isRoom, parseInput } from "./room.js";

const $ = (id) => document.getElementById(id);
let room = null;

$("unloaded").remove();
place(document);

const showState = (name, seconds) => {
  const state = $("state");
  state.className = name;
  state.textContent = name === "lost" ? words.lost(seconds) : words[name];
  // A browser does not say why a WebSocket is refused.
  if (name === "lost") askLogin();
};

const live = new Live(showState);
const login = new Login(() => location.reload());

async function askLogin() {
  const isNeeded = await login.ask();
  if (isNeeded) showLogin();
  return isNeeded;
}

function showLogin() {
  if (!$("login").hidden) return;
  room?.leave();
  room = null;
  live.stop();
  for (const id of ["room", "live", "views", "log-in"]) $(id).hidden = true;
  $("state").textContent = "";
  $("login").hidden = false;
  $("login-user").focus();
}

/// Where one that is not logged in may do something, the broker refuses the rest: it is the user who chooses.
async function offerLogin() {
  const isNeeded = await askLogin();
  $("log-in").hidden = isNeeded !== false || !$("account").hidden;
}

function show() {
  if (!$("login").hidden) return;
  const isLive = location.hash === "#live";
  $("live").hidden = !isLive;
  $("room").hidden = isLive;
  $("to-live").toggleAttribute("aria-current", isLive);
  $("to-room").toggleAttribute("aria-current", !isLive);
  if (isLive) live.start();
  else live.stop();
}

function enter(name, nick) {
  const wrong = !isNick(nick) ? words.badName(words.nick) : !isRoom(name) ? words.badName(words.roomName, true) : "";
  $("entrance-error").textContent = wrong;
  if (wrong) return;
  showPlace(name, nick);
  document.title = `${name} · dallal`;
  $("entrance").hidden = true;
  $("inside").hidden = false;
  room = new Room(name, nick, showState);
  $("text").focus();
}

function showPlace(name, nick) {
  history.replaceState(null, "", `chat?${new URLSearchParams({ room: name, nick })}#room`);
}

/// Does what was typed in a room.
function obey(typed) {
  if (typed.verb === "quit") return leave();
  if (typed.verb === "join") {
    const { nick } = room;
    room.leave();
    return enter(typed.name, nick);
  }
  room.obey(typed);
  if (typed.verb === "nick") showPlace(room.room, room.nick);
}

function leave() {
  room?.leave();
  room = null;
  document.title = "dallal";
  history.replaceState(null, "", "chat#room");
  $("inside").hidden = true;
  $("entrance").hidden = false;
  $("state").textContent = "";
  $("nick").focus();
}

$("entrance").onsubmit = (event) => {
  event.preventDefault();
  enter($("room-name").value.trim(), $("nick").value.trim());
};
$("leave").onclick = leave;
$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("text").value = "";
  $("text").style.height = "";
  if (text) obey(parseInput(text));
};
$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("say").requestSubmit();
  } else if (event.key === "Escape") room.address();
};
$("text").oninput = ({ target }) => {
  target.style.height = "";
  target.style.height = `${Math.min(target.scrollHeight, 160)}px`;
};
addEventListener("hashchange", show);
addEventListener("unauthorized", offerLogin);
$("log-in").onclick = showLogin;
addEventListener("pagehide", () => {
  room?.leave();
  live.stop();
});
// A page that the browser had put aside and shows again is where it was.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

async function begin() {
  const asked = new URLSearchParams(location.search);
  if (asked.get("room")) $("room-name").value = asked.get("room");
  if (asked.get("nick")) $("nick").value = asked.get("nick");
  if (await askLogin()) return;
  show();
  if (asked.get("room") && asked.get("nick")) enter(asked.get("room"), asked.get("nick"));
  else if (location.hash !== "#live") $("nick").focus();
}

begin();
