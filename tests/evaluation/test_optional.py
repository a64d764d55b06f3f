# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.evaluation.optional import import_optional


def test_a_missing_library_names_the_command_that_installs_it():
    with pytest.raises(ImportError, match=r"'no_such_library'.*pip install 'geodit\[eval\]'"):
        import_optional("no_such_library.part")


def test_an_installed_library_is_imported():
    assert import_optional("json.decoder").JSONDecoder
