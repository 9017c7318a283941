"""Every command of `autopack`: its name, where it is, and the first line of its help.

No command's module is imported to show this list, or to run another command. A name of two words is a command that joins
a group from another module than the group's own; those that a group's module registers itself are not listed here.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """`place` is MODULE:NAME below autopack.cli; `help` is the first line of the docstring (a test compares them)."""

    place: str
    help: str


COMMANDS: dict[str, dict[str, Command]] = {
    "Runs and phases": {
        "init": Command("init:init", "Write a commented autopack.toml for this repository, with the checks that were found."),
        "plan": Command("plan:app", "Plans: validate, render, import, schema."),
        "preflight": Command("preflight:preflight", "Try out what a drain of a plan or a run would meet: checks at the base, scopes, estimates. No model is called."),
        "run": Command("runs:app", "Runs: create, list, show, change, pause, resume, cancel."),
        "run events": Command("run_events:run_events", "Show what happened to a run: number, time, who, and what, with the reason that a person gave."),
        "phase": Command("phases:app", "Phases: show, log, diff, requeue, skip, pause after."),
        "phase log": Command("phase_log:log", "Show what happened in a phase: events, steps, model calls, what the checks printed, verdicts. Oldest first."),
        "phase diff": Command("phase_log:diff", "Print what a phase changed: of the attempt whose work it is, else of the last that left a diff. For `git apply`, too."),
        "why": Command("why:why", "Say in plain words why a run does not move, phase by phase, and which commands help."),
        "watch": Command("watch:watch", "Watch a run until it has ended: a live table on a terminal, one line per change elsewhere. Changes nothing."),
        "report": Command("report:report", "Report what happened since a moment, and what waits for a person: as text, or as one HTML file."),
        "approvals": Command("approvals:app", "Approvals: list, show, approve, reject."),
    },
    "Work": {
        "drain": Command("drain:drain", "Drain a run until nothing of it is due, or nothing can move without a person."),
        "drain-one": Command("drain:drain_one", "Drain exactly one phase, QUEUED or FAILED, and no other."),
        "triage": Command("triage:triage", "Try FAILED phases again, across runs: one of each run first, more of it where that was worth it."),
        "undo": Command("review:undo", "Take a COMPLETE phase's commit back on the run's branch, unless later work depends on the same lines."),
        "audit": Command("review:audit", "Make every past decision of a run again from its trees and policies; exit code 1 at the first difference."),
        "notify-test": Command("notify:notify_test", "Send a test notice through AUTOPACK_NOTIFY_COMMAND and AUTOPACK_NOTIFY_URL, and say what came of it."),
        "demo": Command("demo:demo", "Drain ten phases with recorded answers, then two that end in a refusal and an approval."),
    },
    "Tokens and money": {
        "usage": Command("usage:usage", "Tokens and money of model calls. What is unknown is said, never counted as 0."),
        "budget": Command("usage:app", "The caps on a day (UTC) of all runs together."),
        "calibrate": Command("calibrate:calibrate", "Propose coefficients from what calls really needed, and back-test them. Changes nothing without --apply."),
        "estimator": Command("calibrate:app", "Versions of the estimator: list, activate."),
        "replay-telemetry": Command("replay_telemetry:replay_telemetry", "Show what a version would have budgeted for past calls, next to what was budgeted and used. Changes nothing."),
        "telemetry": Command("telemetry:app", "Telemetry: exported, sent to a collector, merged."),
        "telemetry merge": Command("merge:merge", "Carry the telemetry of another database into the telemetry database. Twice adds nothing."),
        "probe": Command("drain:probe", "Drain one phase and see whether both telemetry tables grew. 0 only if it is COMPLETE and they did."),
        "seed-telemetry": Command("runs:seed_telemetry", "Seed the telemetry collection run: one tier, ten phases under examples/telemetry_utils/."),
    },
    "Database and server": {
        "migrate": Command("database:migrate", "Bring the database to this version's schema; make it if it is missing. A backup is made first."),
        "identity": Command("database:identity", "Say which database this is and what it holds; with --api-url, prove that the server has the same one."),
        "doctor": Command("database:doctor", "Check what a drain needs and say what is not as it should be, and what to do. Changes nothing without --fix."),
        "backup": Command("backup:backup", "Copy the database while others work on it: whole, looked through, and readable by its owner only."),
        "restore": Command("backup:restore", "Put a backup in the database's place. One that is there needs --replace, is kept, and must not be in use."),
        "serve": Command("serve:serve", "Serve the API and the web page. Autopack never does this by itself."),
    },
}  # fmt: skip
