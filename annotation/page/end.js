// What is shown when a round is done: what is left to do, the training that goes on, and the next round.

import { $, button } from "./panel.js";

export class End {
  // `acts` holds wish("train" or "stop"), last() and skipped(), which show the last and the skipped regions again.
  constructor(round, acts) {
    Object.assign(this, { round, acts, skipped: 0, shown: null });
    this.update(round.status);
  }

  // The labels cannot be changed while the network is trained on them, nor once the next round is there.
  get locked() { return this.stage === "training" || this.stage === "next"; }

  open(counts, skipped) {
    this.skipped = skipped;
    this.shown = null;
    $("end-counts").textContent = counts;
    $("end").hidden = false;
    this.show();
  }

  close() { $("end").hidden = true; }

  update(status) {
    this.status = status;
    this.stage = status.round === this.round.round || status.state === "training" ? status.state : "next";
    if (!$("end").hidden) this.show();
  }

  show() {
    const { stage, status, round, acts } = this;
    $("end-next").textContent = stage === "next" ? status.changes : round.trains ? status.text : round.done;
    $("end-share").hidden = stage !== "training";
    $("end-share").value = status.share;
    // The buttons stay as long as nothing else happens, or they would lose the keyboard.
    if (this.shown === stage) return;
    this.shown = stage;
    $("end-title").textContent = {
      training: "The network is being trained", failed: "The next round is not ready",
      next: `Round ${status.round} is ready`,
    }[stage] || "All done";
    $("end-actions").replaceChildren();
    const add = (text, key, act) => button($("end-actions"), text, key, act);
    if (stage === "training") add("Stop, and look at the labels again", "", () => acts.wish("stop"));
    else if (stage === "next") add("Next round", "Enter", () => location.reload()).classList.add("first");
    else {
      const text = stage === "failed" ? "Try again" : stage === "ended" ? "" : "Train, and choose the next round";
      if (round.trains && text) add(text, "", () => acts.wish("train")).classList.add("first");
      if (this.skipped) add("Look at the skipped regions again", "", acts.skipped);
      add("Look at the last region again", "\u2190", acts.last);
    }
    (stage === "next" ? $("end-actions").firstChild : $("end")).focus();
  }
}
