"""Looking for the next request: awake while that pays, asleep where it does not."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections.abc import Awaitable, Callable

from seamark_predictor.polling import Poller

MOMENT = 50e-6


class Site:
    """A poller whose clock the test moves on."""

    def __init__(self, seconds: float) -> None:
        self.now = 100.0
        self.reads = 0
        self.poller = Poller(seconds, self.clock)

    def clock(self) -> float:
        self.reads += 1
        return self.now

    async def is_looking(self) -> bool:
        """Whether the loop is kept from sleeping."""
        before = self.reads
        for _ in range(3):
            await asyncio.sleep(0)
        return self.reads > before

    async def answer_one(self, *, within: float) -> bool:
        """One more request comes after so many seconds and is answered; whether it was looked for."""
        looking = await self.is_looking()
        self.now += within
        await asyncio.sleep(0)
        self.poller.asked()
        self.poller.answered()
        return looking


def site(seconds: float = MOMENT) -> Callable[[Callable[[Site], Awaitable[None]]], Callable[[], None]]:
    def decorate(test: Callable[[Site], Awaitable[None]]) -> Callable[[], None]:
        async def run() -> None:
            await test(Site(seconds))

        @functools.wraps(test)
        def wrapper() -> None:
            asyncio.run(run())

        # pytest would take the wrapped test's argument for a fixture.
        del wrapper.__dict__["__wrapped__"]
        return wrapper

    return decorate


async def answers(here: Site, count: int, *, within: float) -> list[bool]:
    return [await here.answer_one(within=within) for _ in range(count)]


@site()
async def test_nobody_looks_before_the_first_answer(here: Site) -> None:
    assert not await here.is_looking()


@site()
async def test_requests_that_come_within_the_moment_are_looked_for(here: Site) -> None:
    looked = await answers(here, 50, within=MOMENT / 2)
    assert looked == [False] + [True] * 49


@site()
async def test_looking_ends_with_the_moment(here: Site) -> None:
    await here.answer_one(within=0)
    assert await here.is_looking()
    here.now += MOMENT
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not await here.is_looking()


@site()
async def test_in_vain_it_is_tried_more_and_more_rarely(here: Site) -> None:
    looked = await answers(here, 3000, within=10 * MOMENT)
    tries = [i for i, did in enumerate(looked) if did]
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert gaps[:8] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert set(gaps[8:]) == {256}


@site()
async def test_where_it_pays_again_it_comes_back(here: Site) -> None:
    await answers(here, 3000, within=10 * MOMENT)
    looked = await answers(here, 1000, within=MOMENT / 2)
    assert all(looked[-100:])


@site()
async def test_where_one_request_in_three_comes_soon_it_is_hardly_tried(here: Site) -> None:
    chance = random.Random(1)
    looked = [await here.answer_one(within=chance.choice((0.5, 10, 10)) * MOMENT) for _ in range(4000)]
    assert sum(looked[-2000:]) < 200


@site()
async def test_nobody_looks_while_a_request_is_under_way(here: Site) -> None:
    await here.answer_one(within=0)
    assert await here.is_looking()
    here.poller.asked()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not await here.is_looking()
    here.poller.answered()
    assert await here.is_looking()


@site()
async def test_one_that_is_dropped_keeps_nobody_from_looking(here: Site) -> None:
    here.poller.asked()
    here.poller.dropped()
    looked = await answers(here, 10, within=MOMENT / 2)
    assert looked == [False] + [True] * 9


@site(0.0)
async def test_no_moment_is_no_looking(here: Site) -> None:
    looked = await answers(here, 10, within=0)
    assert not any(looked)
    assert here.reads == 0
