"""Parity with Caffe, as something that a user can ask for: goldens are arrays that Caffe made, and
every case is run here and compared with them, array by array. tools/check_goldens.py checks whole
folders, tools/check_parity.py the blobs of one net."""
