"""What phases would take of tokens and money, told before a call is made, and whether the caps have room for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from autopack.domain import money
from autopack.domain.caps import DailyAccount
from autopack.domain.estimate import Estimate, Features, features, input_token_bound
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import Claim, Phase, Run
from autopack.domain.preflight import Finding, Level
from autopack.executor.builder import Builder, with_model
from autopack.executor.ground import Ground
from autopack.llm.base import LLM
from autopack.llm.pricing import Prices

_CHARS_PER_TOKEN = 4
# An audit is asked with the diff, the task and its own instructions, and answers with a short verdict.
_AUDIT_INPUT = 1500
_AUDIT_OUTPUT = 300
Ask = Callable[[Features, str, int], Awaitable[Estimate]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One phase, done at the first attempt. `first_call` is what must be free under a token cap to ask at all."""

    phase_id: str
    model: str
    tokens: int
    first_call: int
    cost_usd: float | None
    first_call_usd: float | None


@dataclass(frozen=True, kw_only=True)
class Outlay:
    """Of all phases together; `cost_usd` is None where a price is unknown, and 0 where answers are replayed."""

    tokens: int
    cost_usd: float | None
    basis: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Purse:
    """`ask` answers what a model's answer within its limit is expected to need; `day` is None where no database was looked at."""

    run: Run
    ground: Ground
    builder: Builder
    auditor: LLM
    choose: Callable[[Role, Claim], LLM | None]
    prices: Prices
    ask: Ask
    now: datetime
    basis: str
    day: DailyAccount | None = None

    async def outlay(self, phases: Sequence[Phase]) -> tuple[Outlay, list[Finding]]:
        findings: list[Finding] = []
        parts = [await self._part(phase, findings) for phase in phases]
        costs = [part.cost_usd for part in parts]
        known = [cost for cost in costs if cost is not None]
        whole = Outlay(
            tokens=sum(part.tokens for part in parts), cost_usd=money.dollars(sum(map(money.nanos, known))) if len(known) == len(costs) else None,
            basis=self.basis, parts=tuple(parts),
        )  # fmt: skip
        return whole, [*findings, *self._fits(whole)]

    async def _part(self, phase: Phase, findings: list[Finding]) -> Part:
        claim = Claim(
            attempt_id="preflight",
            lease_token="",
            lease_expires_at=self.now,
            number=1,
            run=self.run,
            phase=phase,
        )
        builder = with_model(self.builder, self.choose(Role.BUILDER, claim))
        auditor = self.choose(Role.AUDITOR, claim) or self.auditor
        question = await builder.question(claim, self.ground)
        texts = [message.text for message in question.messages]
        files = phase.scope.deliverables or [
            path for path in phase.scope.paths if path in self.ground.entries
        ]
        about = features(
            task_category=phase.task_category, complexity=phase.complexity, deliverables=files, existing=self.ground.entries
        )  # fmt: skip
        model = builder.llm.model
        made = await self.ask(about, model, builder.output_limit_for(model))
        if made.decision == "split":
            findings.append(_too_large(phase, made))
        wanted, answer = sum(map(len, texts)) // _CHARS_PER_TOKEN, made.predicted_output_tokens
        bound = input_token_bound(*texts)
        costs = [
            self._cost(builder.llm, wanted, answer),
            self._cost(auditor, _AUDIT_INPUT + answer, _AUDIT_OUTPUT),
        ]
        return Part(
            phase_id=phase.phase_id, model=builder.llm.model, first_call=bound + made.budget,
            tokens=wanted + answer + _AUDIT_INPUT + answer + _AUDIT_OUTPUT,
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            first_call_usd=self._worst(builder.llm, bound, made.budget),
        )  # fmt: skip

    def _cost(self, llm: LLM, wanted: int, answer: int) -> float | None:
        if llm.provider_mode is ProviderMode.REPLAY:
            return 0.0
        usage = Usage(input_tokens=wanted, output_tokens=answer)
        return self.prices.cost((_bare(llm),), llm.provider, usage, at=self.now).cost_usd

    def _worst(self, llm: LLM, bound: int, budget: int) -> float | None:
        if llm.provider_mode is ProviderMode.REPLAY:
            return 0.0
        return self.prices.worst_case_usd(_bare(llm), llm.provider, bound, budget, at=self.now)

    def _fits(self, whole: Outlay) -> list[Finding]:
        run = self.run
        cost = "at an unknown cost" if whole.cost_usd is None else _spelled(whole.cost_usd)
        found = [
            Finding(
                level=Level.OK, about="estimate",
                text=f"about {whole.tokens} tokens, {cost}, if each phase is done at its first attempt ({self.basis})",
            )
        ]  # fmt: skip
        found += _of_tokens(
            "the run", run.token_cap, run.tokens_used + run.tokens_reserved, whole, Level.PROBLEM
        )
        found += _of_money("the run", run.cost_cap_usd, run.cost_usd, whole, Level.PROBLEM)
        if self.day is not None:
            account, name = self.day.account, f"the day {self.day.day} (UTC)"
            used = account.tokens_used + account.tokens_reserved
            found += _of_tokens(name, account.token_cap, used, whole, Level.WARNING)
            spent = account.cost_usd + account.cost_reserved_usd
            found += _of_money(name, account.cost_cap_usd, spent, whole, Level.WARNING)
        return found


def _spelled(usd: float) -> str:
    return f"about {money.spelled(usd)} USD" if usd else "at no cost"


def _bare(llm: LLM) -> str:
    return llm.model.partition(":")[2]


def _too_large(phase: Phase, made: Estimate) -> Finding:
    return Finding(
        level=Level.PROBLEM, about="estimate", phases=(phase.phase_id,),
        text=f"too large for one answer: about {made.predicted_output_tokens} tokens are expected, and the model's limit is {made.output_limit}",
        do="split it into smaller phases, or raise AUTOPACK_OUTPUT_LIMIT where the model can do more",
    )  # fmt: skip


def _of_tokens(owner: str, cap: int | None, used: int, whole: Outlay, level: Level) -> list[Finding]:
    if cap is None:
        return []
    room = max(0, cap - used)
    stuck = tuple(part.phase_id for part in whole.parts if part.first_call > room)
    do = "raise the cap: --token-cap, or token_cap of the plan"
    if stuck:
        most = max(part.first_call for part in whole.parts)
        told = f"the token cap of {owner} leaves {room}, and a call may have to set aside up to {most}: it would be refused"
        return [Finding(level=level, about="caps", text=told, do=do, phases=stuck)]
    if whole.tokens > room:
        told = f"the token cap of {owner} leaves {room}, and about {whole.tokens} are expected"
        return [Finding(level=level, about="caps", text=told, do=do)]
    return []


def _of_money(owner: str, cap: float | None, spent: float, whole: Outlay, level: Level) -> list[Finding]:
    if cap is None:
        return []
    unknown = tuple(part.phase_id for part in whole.parts if part.first_call_usd is None)
    if unknown or whole.cost_usd is None:
        models = ", ".join(sorted({part.model for part in whole.parts if part.first_call_usd is None}))
        told = f"a cost cap of {owner} cannot be kept: the price of {models or 'the auditor'} is unknown, so every call is refused"
        do = "name the price in the file of AUTOPACK_PRICES, use another model, or remove the cap"
        return [Finding(level=Level.PROBLEM, about="caps", text=told, do=do, phases=unknown)]
    room = max(0.0, cap - spent)
    stuck = tuple(part.phase_id for part in whole.parts if (part.first_call_usd or 0) > room)
    if stuck or whole.cost_usd > room:
        told = f"the cost cap of {owner} leaves {money.spelled(room)} USD, and about {money.spelled(whole.cost_usd)} are expected"
        if stuck:
            most = max(part.first_call_usd or 0.0 for part in whole.parts)
            told += f"; a single call may have to set aside {money.spelled(most)}"
        return [
            Finding(
                level=level,
                about="caps",
                text=told,
                do="raise the cap: --cost-cap-usd, or cost_cap_usd of the plan",
                phases=stuck,
            )
        ]
    return []
