# SPDX-License-Identifier: Apache-2.0
"""Numbers of parameters from the headers of weight files."""

import pytest

from geodit.hub_cards.card.architecture import read_architecture
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion


def test_shards_have_the_parameters_of_one_file(checkpoint, tmp_path):
    whole = read_architecture(checkpoint)
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert read_architecture(tmp_path).parameters == whole.parameters
    assert whole.num_parameters == model.num_parameters()
    assert whole.dtypes == ("F32",)


def test_a_missing_shard_is_named(checkpoint, tmp_path):
    GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).save_pretrained(tmp_path, max_shard_size="100KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(ValueError, match=rf"the weights in .* cannot be read: .*{shard.name}"):
        read_architecture(tmp_path)


def test_the_projector_is_as_wide_as_the_text_core_unless_told_otherwise(checkpoint):
    rows = {row[0]: row for row in read_architecture(checkpoint).table.rows}
    assert rows["projector"][3] == rows["text core"][3] == "32"
