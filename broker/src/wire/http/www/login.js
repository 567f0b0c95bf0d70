// Who the user of the page is, the form to say so, and the way out.
//
// The browser keeps the login in a cookie that no script can read.

import { words } from "./words.js";

const $ = (id) => document.getElementById(id);

/// Says that the broker wants to know who the user is.
export function demandLogin() {
  dispatchEvent(new Event("unauthorized"));
}

/// Asks the broker for JSON.
export async function get(path) {
  // To hosts that it does not trust a browser does not say that this is a script, and would open a dialog of its own.
  const answer = await fetch(path, { headers: { "X-Requested-With": "fetch" } });
  if (answer.status === 401) demandLogin();
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

export class Login {
  /// `changed()` is called when another user is logged in or none, also in another tab.
  constructor(changed) {
    this.others = new BroadcastChannel("dallal login");
    this.others.onmessage = changed;
    this.changed = changed;
    $("login-form").onsubmit = (event) => this.enter(event);
    $("log-out").onclick = () => this.leave();
  }

  /// Asks the broker who the user is, and shows that. Returns whether the user has to log in first, or undefined
  /// if the broker cannot be asked.
  async ask() {
    try {
      const answer = await fetch("login", { headers: { "X-Requested-With": "fetch" } });
      const { name, kind, needs_login: needsLogin } = answer.status === 401 ? { needs_login: true } : await answer.json();
      const isUser = ["password", "token", "jwt"].includes(kind);
      $("account").hidden = !isUser;
      $("account-name").textContent = isUser ? name : "";
      $("enter-hint").textContent = isUser ? words.enterHintOfUsers : words.enterHint;
      return needsLogin;
    } catch {
      return undefined;
    }
  }

  async enter(event) {
    event.preventDefault();
    const wanted = fetch("login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: $("login-user").value.trim(), secret: $("login-secret").value }),
    });
    $("login-secret").value = "";
    $("login-error").textContent = "";
    try {
      const answer = await wanted;
      if (answer.ok) return this.tell();
      $("login-error").textContent = words.loginFailed((await answer.text()).trim());
    } catch (err) {
      $("login-error").textContent = words.loginFailed(err.message);
    }
    $("login-secret").focus();
  }

  async leave() {
    try {
      await fetch("logout", { method: "POST" });
    } finally {
      this.tell();
    }
  }

  tell() {
    this.others.postMessage("");
    this.changed();
  }
}
