"""fcn-repro data list and fetch, as a user gives them, from a server on loopback."""

import hashlib
import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import loopback_server as server
import pytest
from data_folders import FOLDERS_OF_FETCH as _unused  # noqa: F401
