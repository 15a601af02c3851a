"""Types lines into a shell on a terminal of its own, and says what the shell makes of Tab.

Usage: drive.py SHELL SCRIPT < cases.json > results.json

A case is {"line": ..., "rest": ..., "want": "tab" | "all"}; a result is the line after Tab, or all words that the shell
offers. `rest` is what stands after the cursor. Fish is asked with `complete -C`; bash and zsh get keys.
"""

import json
import os
import pty
import select
import subprocess
import sys

# Keys after which the shell prints its line between marks, and forgets it; and which insert every completion.
SHOW, ALL = "\x07", "\x18a"
BEGIN, END = "<<", ">>"

SETUP = {
    "bash": r"""
        PS1= PS2=
        set +o history
        bind 'set enable-bracketed-paste off' 'set bell-style none' 'set completion-query-items 0' 'set page-completions off'
        bind '"\C-xa": insert-completions'
        show() { printf '\n<<%s>>\n' "$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0; }
        bind -x '"\C-g": show'
        source "$SCRIPT"
    """,
    "zsh": r"""
        PS1= PS2= RPS1=
        unsetopt zle_bracketed_paste beep prompt_cr prompt_sp 2>/dev/null
        autoload -Uz compinit && compinit -u -D
        zle -C all-matches complete-word _generic
        zstyle ':completion:all-matches::::' completer _all_matches _complete
        zstyle ':completion:all-matches:*' insert true
        bindkey -e
        bindkey '^Xa' all-matches
        show() { printf '\n<<%s>>\n' "$BUFFER"; BUFFER=; }
        zle -N show
        bindkey '^G' show
        source "$SCRIPT"
    """,
}
START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


class Terminal:
    def __init__(self, shell):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvp(START[shell][0], START[shell])
        self.seen = ""

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def until(self, mark):
        """What was printed up to a mark; the rest stays."""
        while mark not in self.seen:
            # Only a shell that hangs takes this long.
            if not select.select([self.fd], [], [], 120)[0]:
                sys.exit(f"the shell says no more; so far: {self.seen!r}")
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(mark)
        return before


def on_a_terminal(shell, cases):
    with open("setup", "w") as file:
        file.write(SETUP[shell])
    terminal = Terminal(shell)
    terminal.type(". ./setup; echo RE''ADY\n")
    terminal.until("READY")
    for case in cases:
        rest = case["rest"]
        keys = case["line"] + rest + "\x02" * len(rest)
        keys += ALL if case["want"] == "all" else "\t"
        terminal.type(keys + SHOW)
        noise = terminal.until(BEGIN)
        line = terminal.until(END)
        yield {"line": line, "printed": noise}


def fish(script, cases):
    for case in cases:
        command = f'source "{script}"; complete -C {json.dumps(case["line"])}'
        done = subprocess.run(["fish", "--no-config", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        words = [line.split("\t")[0] for line in done.stdout.splitlines()]
        yield {"words": words, "printed": done.stderr}


def main():
    shell, script = sys.argv[1:]
    os.environ["SCRIPT"] = script
    cases = json.load(sys.stdin)
    results = fish(script, cases) if shell == "fish" else on_a_terminal(shell, cases)
    json.dump(list(results), sys.stdout)


main()
