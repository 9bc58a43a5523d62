"""The database: the only package that imports peewee; every query takes the account it is for."""
