# SPDX-License-Identifier: Apache-2.0
"""Published data sets with a handful of images, in the layouts in which the real ones are downloaded.

Every image is noise of its own, 60 pixels wide and 40 high unless its name says `tall`, then the other way round.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (60, 40) if "tall" in path.name else (40, 60)
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-3:]).encode()))
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def skyscript(root: Path) -> Path:
    files = {
        "SkyScript_train_top30pct_filtered_by_CLIP_openai.csv": [
            ("images2/a1_CH_19.jpg", "a park", "a park, surrounded by houses"),
            ("images3/w22_US_20.jpg", "a quay", "a quay"),
        ],
        "SkyScript_val_5K_filtered_by_CLIP_openai.csv": [("images4/n3_SA_21.jpg", "a mill", "a mill in a field")],
        "SkyScript_test_30K_filtered_by_CLIP_openai.csv": [("images5/n4_SA_21.jpg", "a dam", "a dam at a lake")],
    }
    for name, rows in files.items():
        for image, *_ in rows:
            write_image(root / image)
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([("filepath", "title", "title_multi_objects"), *rows])
    return root


def conversation(image: str, *messages: str) -> dict[str, Any]:
    """A record in LLaVA's form; the first message comes behind the mark of the image."""
    values = [f"<image>\n{messages[0]}", *messages[1:]]
    turns = [{"from": ("human", "gpt")[k % 2], "value": value} for k, value in enumerate(values)]
    return {"id": Path(image).stem, "image": image, "conversations": turns}


def mmrs(root: Path) -> Path:
    files = {
        "caption/RSICD.json": [
            conversation("data/caption/RSICD/a.jpg", "Describe it.", "A port.", "Again.", "A busy port.")
        ],
        "classification/AID.json": [conversation("data/classification/AID/a.jpg", "Which scene is it?", "bare land")],
        "detection/optical.json": [
            conversation(
                "data/detection/DIOR/a.jpg",
                "Detect all objects.",
                "There are <p>2 ships</p>[0.10,0.30,0.50,0.60;0.00,0.17,0.10,0.50] and <p>one harbor</p>"
                "[0.50,0.30,1.00,0.80] in the image.",
            )
        ],
        "detection/sar.json": [
            conversation("data/detection/HRSID/tall.jpg", "Detect all objects.", "<p>1 ship</p>[0.30,0.10,0.60,0.50]")
        ],
        "detection/infrared.json": [
            conversation(
                "data/detection/HIT-UAV/a.jpg",
                "Detect all objects.",
                "<p>1 person</p>[0.10,0.30,0.50,0.30,0.50,0.60,0.10,0.60]",
            )
        ],
        "RSVG/rsvg_trainval.json": [
            conversation(
                "data/RSVG/a.jpg",
                "Please provide the bounding box coordinate of the region described as: the red car in this remote "
                "sensing image.",
                "[0.10,0.30,0.50,0.60]",
                "Provide a short description of: [0.10,0.30,0.50,0.60]",
                "the red car",
            )
        ],
        "VQA/RSVQA.json": [conversation("data/VQA/a.png", "Is there a road?", "yes")],
    }
    for name, records in files.items():
        write_json(root / "data/json" / name, records)
        for record in records:
            write_image(root / record["image"])
    write_json(root / "data/json/total.json", [record for records in files.values() for record in records])
    return root


def geochat(root: Path) -> Path:
    records = [
        conversation("a.png", "Describe the image in detail", "A harbor with two ships."),
        conversation("a.png", "[refer] where is <p>1 large ship</p> ?", "{<10><25><50><75>|<0>}"),
        conversation(
            "a.png", "[refer] where are <p>2 ships</p> ?", "{<40><25><60><75>|<90>}<delim>{<0><0><10><10>|<0>}"
        ),
        conversation(
            "b.png",
            "[grounding] describe the image in detail",
            "<p>A ship</p> {<10><25><50><75>|<0>} lies in the harbor .",
            "[identify] {<10><25><50><75>|<0>} what is it",
            "a ship",
        ),
        conversation(
            "b.png",
            "Classify the given image in one of the following classes. Classes: harbor, park.\n"
            "Answer in one word or a short phrase.",
            "harbor",
        ),
        conversation("b.png", "Is there a ship?\nAnswer the question using a single word or phrase.", "Yes"),
    ]
    write_json(root / "GeoChat_Instruct.json", records)
    write_image(root / "images/share/softwares/kartik/GeoChat_finetuning/final_images_llava/a.png")
    write_image(root / "images/b.png")
    return root


def llava(root: Path) -> Path:
    records = [
        conversation("a.png", "What is it?", "a port", "Is it busy? A short answer is", "yes"),
        conversation("b.png", "How many?", "2"),
    ]
    write_json(root / "chats.json", records)
    write_image(root / "a.png")
    write_image(root / "images/b.png")
    return root / "chats.json"


def vrsbench(root: Path) -> Path:
    write_json(
        root / "VRSBench_train.json",
        [
            conversation("a.png", "[caption] Describe the image in detail.", "A harbor."),
            conversation("a.png", "[vqa] Is it busy? A short answer to the question is", "yes"),
            conversation("b.png", "[vqa] How many ships?", "2"),
            conversation("a.png", "[refer] Where is <p>the long ship</p>?", "{<10><25><50><75>}"),
        ],
    )
    write_json(
        root / "VRSBench_EVAL_Cap.json",
        [{"image_id": "c.png", "question": "Describe it.", "ground_truth": "Two courts.", "type": "caption"}],
    )
    court = {"image_id": "c.png", "type": "ref", "obj_cls": "tennis-court"}
    write_json(
        root / "VRSBench_EVAL_referring.json",
        [
            {**court, "question": "the left court", "ground_truth": "{<0><0><50><100>}"},
            {**court, "question": "the other court", "ground_truth": "{<50><0><100><100>}"},
        ],
    )
    write_json(
        root / "VRSBench_EVAL_vqa.json",
        [{"image_id": "c.png", "question": "How many?", "ground_truth": "2", "type": "Object quantity"}],
    )
    for name in ("Images_train/a.png", "Images_train/b.png", "Images_val/c.png"):
        write_image(root / name)
    return root


def vrsbench_annotations(root: Path) -> Path:
    """The other form of VRSBench's annotations: a file for each image."""
    for split, name in (("train", "a"), ("val", "c")):
        write_image(root / f"Images_{split}/{name}.png")
        record = {
            "image": f"{name}.png",
            "caption": "A harbor.",
            "objects": [
                {
                    "obj_cls": "ship",
                    "obj_corner": [0.1, 0.25, 0.5, 0.25, 0.5, 0.75, 0.1, 0.75],
                    "referring_sentence": "the long ship",
                }
            ],
            "qa_pairs": [{"question": "Is it busy?", "answer": "yes", "type": "Scene type"}],
        }
        write_json(root / f"Annotations_{split}/{name}.json", record)
        write_json(root / f"Annotations_{split}/{name}_input.json", {"prompt": "what the caption was made from"})
    return root


def voc_object(name: str, box: Sequence[float], description: str) -> str:
    corners = "".join(
        f"<{corner}>{value}</{corner}>" for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox><description>{description}</description></object>"


def dior_rsvg(root: Path) -> Path:
    objects = {
        "00001": [
            voc_object("airplane", (5, 5, 25, 20), "an airplane on the left"),
            voc_object("airplane", (30, 10, 50, 30), "an airplane\n  on the right"),
        ],
        "00002": [voc_object("storagetank", (0, 0, 10, 10), "a tank")],
        "00003": [
            voc_object("ship", (10, 10, 20, 20), "a ship"),
            voc_object("harbor", (0, 0, 60, 40), "the harbor"),
        ],
    }
    (root / "Annotations").mkdir(parents=True)
    for name, items in objects.items():
        write_image(root / f"JPEGImages/{name}.jpg")
        size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(items)}</annotation>"
        (root / f"Annotations/{name}.xml").write_text(text)
    for name, numbers in (("train", "0\n2\n"), ("val", "1\n"), ("test", "3\n4\n")):
        (root / f"{name}.txt").write_text(numbers)
    return root


def rsvg(root: Path) -> Path:
    records = {
        "train": [
            ("a.jpg", [6, 10, 30, 30], "The red car", "car"),
            ("b.jpg", [0, 0, 10, 10], "A hut", "hut"),
            ("a.jpg", [40, 0, 60, 20], "The lake", "lake"),
        ],
        "val": [("c.jpg", [0, 0, 60, 40], "The field", "field")],
        "test": [("d.jpg", [1, 2, 3, 4], "The mast", "mast")],
    }
    for split, tuples in records.items():
        for image, *_ in tuples:
            write_image(root / "images" / image)
        torch.save(tuples, root / f"rsvg_{split}.pth")
    return root


def avvg(root: Path) -> Path:
    car = {"image_id": "DJI_0001.JPG", "question_id": 0, "dataset": "avvg"}
    records = {
        "train": [
            {
                **car,
                "question": "The red sedan on the left.",
                "bbox": [6, 10, 30, 30],
                "poly": [[14, 10], [30, 18], [22, 30], [6, 22]],
            },
            {
                **car,
                "image_id": "DJI_0002.JPG",
                "question": "The bus",
                "bbox": [0, 0, 10, 10],
                "poly": [[0, 0], [10, 0], [10, 10], [0, 10]],
            },
            {**car, "question_id": 1, "question": "The white SUV", "bbox": [40, 0, 60, 20], "poly": None},
        ],
        "test": [
            {
                **car,
                "image_id": "DJI_0003.JPG",
                "question": "The black taxi",
                "bbox": [20, 8, 40, 24],
                "poly": [28, 8, 40, 16, 32, 24, 20, 16],
            }
        ],
    }
    detections = {
        "train": [
            {**car, "question": "Red car.", "poly": [[[14, 10], [30, 18], [22, 30], [6, 22]]]},
            {
                **car,
                "image_id": "DJI_0004.JPG",
                "question": "white car",
                "poly": [[[2, 4], [8, 4], [8, 9], [2, 9]], [[20, 10], [36, 18], [28, 30], [12, 22]]],
            },
            {**car, "question": "SUV  car", "poly": [[40, 0], [60, 0], [60, 20], [40, 20]]},
            {**car, "question": "red car", "poly": [50, 30, 56, 30, 56, 38, 50, 38]},
            {**car, "question": "red car", "poly": [14, 10, 30, 18, 22, 30, 6, 22]},
        ],
        "test": [
            {
                **car,
                "image_id": "DJI_0003.JPG",
                "question": "black car",
                "poly": [[28, 8, 40, 16, 32, 24, 20, 16], [2, 2, 10, 2, 10, 6, 2, 6]],
            }
        ],
    }
    (root / "metainfo").mkdir(parents=True)
    for stem, splits in (("avvg", records), ("avvg_detection", detections)):
        for split, lines in splits.items():
            for line in lines:
                write_image(root / "images/avvg" / str(line["image_id"]))
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (root / f"metainfo/{stem}_{split}.jsonl").write_text(text)
    return root


def karpathy(path: Path, images: Path, names: dict[str, str]) -> None:
    sentences = ["a bridge over a river .", "a river with a bridge .", "a bridge over a river ."]
    records = []
    for number, (name, split) in enumerate(names.items()):
        write_image(images / name)
        raw = [{"tokens": text.split(), "raw": f" {text}", "imgid": number} for text in sentences]
        records.append({"filename": name, "imgid": number, "split": split, "sentences": raw})
    write_json(path, {"dataset": "rsicd", "images": records})


def rsicd(root: Path) -> Path:
    names = {"bridge_1.jpg": "train", "00002.jpg": "train", "bridge_3.jpg": "val", "bridge_4.jpg": "test"}
    karpathy(root / "dataset_rsicd.json", root / "RSICD_images", names)
    return root


def ucm_captions(root: Path) -> Path:
    karpathy(root / "dataset.json", root / "imgs", {"1.tif": "train", "2.tif": "val", "3.tif": "test"})
    return root


def sydney_captions(root: Path) -> Path:
    (root / "filenames").mkdir(parents=True)
    lines = ("1 a lawn .", "2 a river .", "2 the river bends .", "3 a runway .")
    (root / "filenames/descriptions_SYDNEY.txt").write_text("\n".join(lines))
    for number, split in enumerate(("train", "val", "test"), start=1):
        write_image(root / f"imgs/{number}.tif")
        (root / f"filenames/filenames_{split}.txt").write_text(f"{number}.tif\n")
    return root


def nwpu_captions(root: Path) -> Path:
    splits = ("train", "val", "test")
    content = {}
    for scene in ("airplane", "lake"):
        names = [f"{scene}_{number:03}.jpg" for number in (1, 2, 3)]
        sentences = {"raw": f"one {scene}", **{f"raw_{k}": f"{scene} {k}" for k in (1, 2, 3, 4)}}
        content[scene] = [
            {"filename": name, "split": split, **sentences} for name, split in zip(names, splits, strict=True)
        ]
        for name in names:
            write_image(root / "NWPU_images" / scene / name)
    write_json(root / "dataset_nwpu.json", content)
    return root


def rsvqa(root: Path, prefix: str, images: str, splits: Sequence[str], answers: Sequence[tuple[str, str]]) -> None:
    """An image for each split, each with a question for each (type, answer)."""
    count = len(answers)
    for own, split in enumerate(splits):
        write_image(root / images / f"{own}.tif")
        contents: dict[str, list[dict[str, Any]]] = {"images": [], "questions": [], "answers": []}
        for image in range(len(splits)):
            numbers = range(image * count, (image + 1) * count)
            if image != own:
                contents["images"].append({"id": image, "active": False})
                for sort in ("questions", "answers"):
                    contents[sort].extend({"id": number, "active": False} for number in numbers)
                continue
            contents["images"].append({"id": image, "active": True, "questions_ids": list(numbers)})
            for number, (kind, answer) in zip(numbers, answers, strict=True):
                question = {"id": number, "img_id": image, "type": kind, "question": f"Which {kind}?", "active": True}
                contents["questions"].append({**question, "answers_ids": [number]})
                contents["answers"].append({"id": number, "question_id": number, "answer": answer, "active": True})
        for sort, records in contents.items():
            write_json(root / f"{prefix}_split_{split}_{sort}.json", {"info": {"year": 2020}, sort: records})


def rsvqa_lr(root: Path) -> Path:
    answers = [("comp", "yes"), ("count", "0"), ("count", "37"), ("rural_urban", "rural")]
    rsvqa(root, "LR", "Images_LR", ("train", "val", "test"), answers)
    return root


def rsvqa_hr(root: Path) -> Path:
    answers = [("area", "120m2"), ("count", "37")]
    rsvqa(root, "USGS", "Data", ("train", "val", "test", "test_phili"), answers)
    return root


def aid(root: Path) -> Path:
    for number in range(1, 5):
        write_image(root / f"AID/Airport/airport_{number}.jpg")
    for number in range(1, 4):
        write_image(root / f"AID/BareLand/bareland_{number}.jpg")
    return root


def whu_rs19(root: Path) -> Path:
    for scene in ("Airport", "footballField"):
        for number in (1, 2):
            write_image(root / scene / f"{scene.lower()}_0{number}.jpg")
    return root


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "skyscript": skyscript,
    "mmrs-1m": mmrs,
    "geochat-instruct": geochat,
    "llava": llava,
    "vrsbench": vrsbench,
    "vrsbench, a file for each image": vrsbench_annotations,
    "dior-rsvg": dior_rsvg,
    "rsvg": rsvg,
    "avvg": avvg,
    "rsicd": rsicd,
    "ucm-captions": ucm_captions,
    "sydney-captions": sydney_captions,
    "nwpu-captions": nwpu_captions,
    "rsvqa-lr": rsvqa_lr,
    "rsvqa-hr": rsvqa_hr,
    "aid": aid,
    "whu-rs19": whu_rs19,
}
