# SPDX-License-Identifier: Apache-2.0
"""Reading and writing checkpoints tensor by tensor."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geodit.weights.checkpoint_reader import CheckpointReader, match_tensors
from geodit.weights.checkpoint_writer import PlannedTensor, planned, write_checkpoint

TENSORS = {
    "wide": torch.arange(24.0).reshape(6, 4),
    "vector": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(3.0, dtype=torch.float16),
    "picture": torch.arange(27.0, dtype=torch.float64).reshape(3, 1, 3, 3),
}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path


class TestReader:
    def test_shapes_and_types_are_known_before_any_tensor_is_read(self, folder):
        reader = CheckpointReader(folder)
        assert {name: record.shape for name, record in reader.records.items()} == {
            name: tuple(tensor.shape) for name, tensor in TENSORS.items()
        }
        assert {name: reader.dtype(name) for name in reader.records} == {n: t.dtype for n, t in TENSORS.items()}

    @pytest.mark.parametrize("max_bytes", [1, 16, 40, 10**9])
    @pytest.mark.parametrize("name", TENSORS)
    def test_the_blocks_of_a_tensor_are_the_tensor(self, folder, name, max_bytes):
        blocks = list(CheckpointReader(folder).blocks(name, max_bytes))
        whole = blocks[0] if TENSORS[name].dim() == 0 else torch.cat(blocks)
        assert torch.equal(whole, TENSORS[name])

    def test_a_block_has_as_many_rows_as_fit(self, folder):
        assert [len(block) for block in CheckpointReader(folder).blocks("wide", 2 * 16)] == [2, 2, 2]

    def test_weights_that_are_quantized_cannot_be_converted(self, tmp_path):
        save_file({"w": torch.zeros(2, dtype=torch.int8)}, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=r"w is of type I8.*not quantized"):
            CheckpointReader(tmp_path).dtype("w")

    def test_pickles_are_refused_with_the_way_to_convert_them(self, tmp_path):
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(ValueError, match=r"pytorch_model\.bin.*Convert them.*weights_only=True"):
            CheckpointReader(tmp_path)

    def test_a_folder_without_weights_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
            CheckpointReader(tmp_path)

    def test_a_damaged_file_is_named(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
        with pytest.raises(ValueError, match=r"model\.safetensors is not a readable safetensors file"):
            CheckpointReader(tmp_path)

    def test_a_tensor_that_only_the_index_has_is_named(self, folder):
        weight_map = dict.fromkeys([*TENSORS, "ghost"], "model.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match="ghost: in the index, but in no file"):
            CheckpointReader(folder)

    def test_a_tensor_in_two_files_is_named(self, folder):
        save_file({"wide": TENSORS["wide"]}, folder / "other.safetensors")
        weight_map = {**dict.fromkeys(TENSORS, "model.safetensors"), "wide": "other.safetensors"}
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match="wide: in more than one file"):
            CheckpointReader(folder)

    def test_an_index_cannot_point_outside_its_folder(self, tmp_path):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": "../w.safetensors"}}))
        with pytest.raises(ValueError, match="outside its folder"):
            CheckpointReader(tmp_path)


class TestMatching:
    def test_every_tensor_is_accounted_for(self, folder):
        names = {"wide": "a", "vector": "b", "scalar": None, "picture": None}
        matched = match_tensors(CheckpointReader(folder), names.__getitem__, {"b": (2,), "a": (6, 4)})
        assert matched == {"b": "vector", "a": "wide"}

    def test_all_that_is_wrong_is_listed_at_once(self, folder):
        def rename(name):
            if name == "scalar":
                raise ValueError(name)
            return {"vector": "wide", "picture": "extra"}.get(name, name)

        expected = {"wide": (6, 5), "lost": (1,)}
        with pytest.raises(ValueError, match="does not hold") as error:
            match_tensors(CheckpointReader(folder), rename, expected, original_name=str.upper)
        message = str(error.value)
        assert "scalar: unknown" in message
        assert "picture: not part of the model" in message
        assert "wide: the same tensor as vector" in message
        assert "vector: shape (2,), but config.json asks for (6, 5)" in message
        assert "LOST: missing" in message


class TestWriter:
    def test_what_is_written_is_read_by_safetensors(self, tmp_path):
        write_checkpoint(tmp_path, {name: planned(tensor, tensor.dtype) for name, tensor in TENSORS.items()})
        loaded = load_file(tmp_path / "model.safetensors")
        assert loaded.keys() == TENSORS.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
        assert all(loaded[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
        with safe_open(tmp_path / "model.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt"}

    @given(
        shape=st.lists(st.integers(1, 5), max_size=3),
        dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
        rows=st.integers(1, 3),
    )
    @settings(max_examples=25, deadline=None)
    def test_blocks_of_any_size_make_the_same_file(self, tmp_path_factory, shape, dtype, rows):
        folder = tmp_path_factory.mktemp("written")
        tensor = torch.randn(shape).to(dtype)
        blocks = [tensor] if tensor.dim() == 0 else list(tensor.split(rows))
        write_checkpoint(folder, {"w": PlannedTensor(tuple(shape), dtype, lambda: iter(blocks))})
        assert torch.equal(load_file(folder / "model.safetensors")["w"], tensor)

    def test_a_large_checkpoint_is_divided_and_has_an_index(self, tmp_path):
        tensors = {name: TENSORS["wide"] + index for index, name in enumerate("abc")}
        plan = {name: planned(tensor, torch.float32) for name, tensor in tensors.items()}
        write_checkpoint(tmp_path, plan, max_shard_size=200)
        index = json.loads((tmp_path / INDEX).read_text())
        assert index["metadata"] == {"total_parameters": 72, "total_size": 288}
        assert sorted(set(index["weight_map"].values())) == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        reader = CheckpointReader(tmp_path)
        assert all(torch.equal(reader.read(name), tensor) for name, tensor in tensors.items())

    def test_progress_counts_bytes_up_to_the_total(self, tmp_path):
        reports = []
        plan = {name: planned(tensor, torch.float32) for name, tensor in TENSORS.items()}
        write_checkpoint(tmp_path, plan, on_progress=lambda done, total: reports.append((done, total)))
        assert [done for done, _ in reports] == sorted(done for done, _ in reports)
        assert reports[-1][0] == reports[-1][1] == 4 * sum(tensor.numel() for tensor in TENSORS.values())

    def test_blocks_that_do_not_add_up_are_an_error(self, tmp_path):
        plan = {"w": PlannedTensor((4,), torch.float32, lambda: iter([torch.zeros(3)]))}
        with pytest.raises(RuntimeError, match="w has 12 bytes of values, but 16 were planned"):
            write_checkpoint(tmp_path, plan)
