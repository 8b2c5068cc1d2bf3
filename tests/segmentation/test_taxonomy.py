import numpy as np
import pytest

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, InTaxonomy, Streets
from tests.segmentation.test_datasets import DatasetContract

CAMVID = composed("train_agent", ["taxonomy=camvid"])["taxonomy"]["classes"]
TINY = {"images": 30, "size": (60, 80)}


class TestInTaxonomy(DatasetContract):
    @pytest.fixture
    def dataset(self):
        return InTaxonomy(Streets(**TINY, variant="cityscapes"), CAMVID)

    def test_classes_are_taken_together_by_name(self, dataset):
        own = Streets(**TINY, variant="cityscapes")
        assert dataset.classes == Streets(**TINY).classes
        seen = set()
        for name in own.names[:12]:
            label, image = own.load(name)[1], dataset.load(name)
            expected = np.full(label.shape, IGNORE, np.uint8)
            for place, parts in enumerate(CAMVID.values()):
                for part in set(parts) & set(own.classes):
                    expected[label == own.classes.index(part)] = place
                    seen.add(part)
            np.testing.assert_array_equal(image[1], expected)
            np.testing.assert_array_equal(image[0], own.load(name)[0])
        assert {"traffic light", "traffic sign", "vegetation"} <= seen

    def test_unnamed_classes_are_void(self):
        own = Streets(**TINY)
        two = InTaxonomy(own, {"ground": ["road", "pavement"], "sky": ["sky"]})
        label, found = own.load(own.names[0])[1], two.load(own.names[0])[1]
        assert set(np.unique(found)) <= {0, 1, IGNORE}
        np.testing.assert_array_equal(
            found == 0, np.isin(label, [own.classes.index("road"), own.classes.index("pavement")])
        )
        np.testing.assert_array_equal(two.colors, own.colors[[own.classes.index("road"), own.classes.index("sky")]])

    def test_another_taxonomy_is_another_data_set(self):
        own = Streets(**TINY)
        one, other = ({"a": ["sky"], "b": [name]} for name in ("road", "car"))
        assert InTaxonomy(own, one).identity != InTaxonomy(own, other).identity != own.identity

    @pytest.mark.parametrize(
        ("taxonomy", "message"),
        [
            ({"sky": ["sky"]}, "map two classes or more, each to a list of names"),
            (["sky", "road"], "map two classes or more"),
            ({"sky": ["sky"], "way": "road"}, r"taxonomy\.classes\.way is 'road'; give a list of names"),
            ({"sky": ["sky"], "way": []}, r"taxonomy\.classes\.way: streets has none of no names"),
            (
                {"sky": ["sky"], "way": ["rod"]},
                r"taxonomy\.classes\.way: streets has none of rod; its classes are sky, building",
            ),
            ({"sky": ["sky"], "all": ["road", "sky"]}, r"taxonomy\.classes\.all: sky belongs to sky already"),
        ],
    )
    def test_bad_taxonomies(self, taxonomy, message):
        with pytest.raises(RalsegError, match=message):
            InTaxonomy(Streets(**TINY), taxonomy)


def test_a_world_in_camvids_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    given = ["dataset.variant=cityscapes", "dataset.images=40", "dataset.size=[96,128]", "taxonomy=camvid"]
    world = World(composed("train_agent", [*given, "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}"]))
    world.check()
    assert world.dataset.classes == tuple(CAMVID)
    assert World(composed("train_agent", given[:3])).dataset.classes[0] == "road"
    own = ["taxonomy.classes={ground: [road, sidewalk], sky: [sky]}"]
    assert World(composed("train_agent", [*given[:3], *own])).dataset.classes == ("ground", "sky")
