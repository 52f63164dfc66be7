// How far a job is: the bar, the preview, and what is said, with the time that is left counted down between two events.
const element = (id) => document.getElementById(id);

export class Progress {
  // Of `count` pictures at once: the first is the one that is asked for, the other is to be compared with it.
  begin(count) {
    this.shares = new Array(count).fill(0);
    this.ends = new Array(count).fill(null); // when each will be done, in ms of performance.now()
    this.what = "";
    this.stage = null;
    element("bar").value = 0;
    element("preview").removeAttribute("src");
    this.say("sending the request");
    this.clock = setInterval(() => this.show(), 500);
  }

  end() {
    clearInterval(this.clock);
  }

  // For one of the pictures, what is to be called with each of its events.
  follower(which) {
    return (name, data) => {
      if (name === "preview") element("preview").src = `data:${data.media_type};base64,${data.picture}`;
      else this.hear(which, name, data);
    };
  }

  hear(which, name, data) {
    if (name === "progress") this.shares[which] = data.share;
    if (name === "done") [this.shares[which], this.ends[which]] = [1, null];
    else if (data.eta_s !== null) this.ends[which] = performance.now() + 1000 * data.eta_s;
    element("bar").value = this.shares.reduce((sum, share) => sum + share) / this.shares.length;
    const isLast = this.shares.every((share, at) => at === which || share === 1);
    if (name !== "done" && (which === 0 || isLast)) {
      this.say((which ? "for comparison, " : "") + described(name, data), name === "queued" ? name : data.stage);
    }
  }

  // Readers of the screen hear of each stage once, and not of each step.
  say(what, stage = null) {
    this.what = what;
    this.show();
    if (stage !== this.stage) element("said").textContent = element("status").textContent;
    this.stage = stage;
  }

  show() {
    const left_s = Math.ceil((Math.max(...this.ends.map((end) => end ?? 0)) - performance.now()) / 1000);
    element("status").textContent = left_s > 0 ? `${this.what}, about ${left_s} s left` : this.what;
  }
}

function described(name, data) {
  if (name === "progress") return `${data.stage}: step ${data.step} of ${data.of}`;
  return `waiting for the ${data.stage}: ${data.place ? `${data.place} go first` : "next"}`;
}
