"""The number of threads follows what steps cost."""

from __future__ import annotations

from collections.abc import Callable

from lollms_llamacpp.batching.crew import Crew

Cost = Callable[[int], float]


def alone(count: int) -> float:
    return 1 / count


def beside_one(count: int) -> float:
    """Four CPUs with a busy neighbour: four threads wait for the one that shares its CPU."""
    return 1.0 if count == 4 else 1 / count


def run(crew: Crew, cost: Cost, steps: int, *, n_tokens: int = 1, most: int = 4) -> list[int]:
    counts = []
    for _ in range(steps):
        count = crew.count(most, n_tokens)
        crew.took(n_tokens, cost(count))
        counts.append(count)
    return counts


def test_all_threads_compute_where_nobody_else_does() -> None:
    counts = run(Crew(), alone, 5000)
    assert set(counts) == {4, 3}
    assert counts.count(3) == 3  # one trial, ever
    assert counts[-4000:] == [4] * 4000


def test_one_stays_away_while_a_neighbour_computes() -> None:
    crew = Crew()
    run(crew, alone, 100)
    beside = run(crew, beside_one, 1000)
    assert beside[50:].count(3) > 0.95 * len(beside[50:])
    again = run(crew, alone, 1000)
    assert again[300:].count(4) >= 697  # but for one more trial


def test_a_neighbour_who_was_there_first_is_seen_too() -> None:
    assert run(Crew(), beside_one, 200)[-100:].count(3) >= 90


def test_two_neighbours_cost_two_threads() -> None:
    def beside_two(count: int) -> float:
        return 1.0 if count > 2 else 1 / count

    assert run(Crew(), lambda count: 2.0 if count == 4 else beside_two(count), 1000)[-500:].count(2) > 450


def test_noise_is_not_answered_each_time() -> None:
    """Steps that are slow now and then, whatever is done, cost few trials."""
    crew = Crew()
    counts = []
    for number in range(4000):
        count = crew.count(4, 1)
        counts.append(count)
        crew.took(1, (2 if number // 8 % 3 == 0 else 1) / count)
    assert counts.count(3) / len(counts) < 0.03


def test_steps_that_get_slower_little_by_little_are_no_neighbour() -> None:
    crew = Crew()
    run(crew, alone, 100)
    slow = 1.0
    for _ in range(3000):
        slow *= 1.001
        count = crew.count(4, 1)
        assert count == 4
        crew.took(1, slow / count)


def test_steps_of_another_size_are_not_compared() -> None:
    crew = Crew()
    run(crew, alone, 100)
    for _ in range(50):
        assert run(crew, lambda count: 8 / count, 8, n_tokens=8) == [4] * 8
        assert run(crew, alone, 8) == [4] * 8


def test_prompts_are_neither_measured_nor_tried() -> None:
    crew = Crew()
    assert run(crew, lambda count: 100 / count, 100, n_tokens=0) == [4] * 100


def test_one_thread_is_one_thread() -> None:
    assert run(Crew(), alone, 100, most=1) == [1] * 100


def test_another_limit_is_kept_at_once() -> None:
    crew = Crew()
    run(crew, beside_one, 200)
    assert crew.count(2, 1) == 2
    assert crew.count(8, 1) == 8
