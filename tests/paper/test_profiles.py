"""The one table of sizes."""

import pytest

from physmis import paths, tasks
from physmis.experiments.experiment import samples
from physmis.experiments.forecasts import assess, experiment, valid_share
from physmis.experiments.parallel import cached
from physmis.experiments.store import Store
from physmis.models import build
from physmis.paper.profiles import PROFILES, resolve

NAMES = ["smoke", "workshop", "standard", "full"]


def test_profiles_build_every_model_and_grow_in_every_size():
    assert list(PROFILES) == NAMES
    for field in ("seeds", "data", "samples"):
        sizes = [getattr(resolve(name), field) for name in NAMES]
        assert sizes == sorted(sizes) and all(type(size) is int and size > 0 for size in sizes)
    for model in ("unet", "transformer", "vae", "mlp", "planner"):
        configs = []
        for name in NAMES:
            sizes = resolve(name).models[model]
            configs.append(build(model, **sizes).config())
            assert configs[-1].items() >= sizes.items()
        for size in ("width", "steps"):
            sizes = [config[size] for config in configs]
            assert sizes == sorted(sizes) and sizes[0] < sizes[2] < sizes[3]


@pytest.mark.parametrize("name", ["sine", "cone", "logistic"])
def test_the_workshop_shows_the_lesson_from_stored_results(name, tmp_path):
    profile = resolve("workshop")
    store = Store(tmp_path, paths.root() / "results" / "standard")
    found = [cached(samples(experiment(profile, tasks.load(name), 0, "mlp")), store)]
    assert valid_share(found).value >= 0.9 and assess(found).times_floor.value > 2
    assert profile.seeds == 1 and profile.stamp and not list(tmp_path.iterdir())


def test_a_share_of_a_profile_keeps_its_networks_and_falls_below_smoke_in_nothing():
    full, smoke = resolve("full"), resolve("smoke")
    for share in (0.5, 0.01, 0.0001):
        part = resolve(f"full@{share:f}")
        assert part.name == f"full@{share:f}" and part.stamp == f"{100 * share:g} % OF FULL"
        for field in ("seeds", "data", "samples"):
            assert getattr(part, field) == max(round(share * getattr(full, field)), getattr(smoke, field))
        for model, sizes in part.models.items():
            steps = max(round(share * full.models[model]["steps"]), smoke.models[model]["steps"])
            assert sizes == {**full.models[model], "steps": steps}
    assert full == resolve("full") and not full.stamp


def test_an_unknown_profile_and_a_share_outside_of_0_to_1_are_refused():
    for name in ("fast", "fulll@0.1"):
        with pytest.raises(ValueError, match=f"smoke, workshop, standard, full, got '{name}'"):
            resolve(name)
    for name in ("full@", "full@0", "full@0.0", "full@1.5", "full@1", "full@nan", "full@0.1/x"):
        with pytest.raises(ValueError, match=f"such as 'full@0.01', got '{name}'"):
            resolve(name)
