# SPDX-License-Identifier: Apache-2.0
"""What CodeCarbon has measured."""

import pytest

from geodit.hub_cards.card.emissions import read_emissions
from geodit.hub_cards.card.model_card import build_model_card

HEADER = "timestamp,run_id,duration,emissions,energy_consumed,latitude,cpu_model,gpu_model\n"


def test_the_runs_are_added_up(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "a.emissions.csv").write_text(
        f"{HEADER}t,r,5,0.25,1.5,52.1,Xeon,\nt,r,5,0.5,1,52.1,Xeon,\n"
    )
    (tmp_path / "emissions.csv").write_text(f"{HEADER}t,r,5,0.125,0.5,52.1,Xeon,1 x H100\n")
    measured = read_emissions(tmp_path)
    assert (measured.kilograms, measured.kilowatt_hours) == (0.875, 3.0)
    assert measured.hardware == ("Xeon", "1 x H100")
    assert measured.files == 2
    assert measured.metadata == {"emissions": 875.0, "source": "CodeCarbon", "hardware_used": "Xeon, 1 x H100"}


def test_nothing_was_measured(tmp_path):
    assert read_emissions(tmp_path) is None
    (tmp_path / "emissions.csv").write_text(HEADER)
    assert read_emissions(tmp_path) is None


@pytest.mark.parametrize("content", ["a,b\n1,2\n", f"{HEADER}t,r,5,much,1,,,\n", f"{HEADER}t,r\n"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "emissions.csv").write_text(content)
    with pytest.raises(ValueError, match=r"emissions\.csv is not a file of CodeCarbon"):
        read_emissions(tmp_path)


def test_the_card_has_what_was_measured_and_says_so_if_nothing_was(folder):
    assert "Energy and emissions were not measured." in build_model_card(folder).text
    path = folder / "training" / "stage2.emissions.csv"
    path.write_text(f"{HEADER}t,r,5,0.125,0.5,52.1,Xeon,\n")
    card = build_model_card(folder)
    assert "CodeCarbon measured 0.5 kWh of energy and 0.125 kg of CO2 equivalents on Xeon." in card.text
    assert card.data.co2_eq_emissions["emissions"] == 125.0
    assert "not measured" not in card.text
