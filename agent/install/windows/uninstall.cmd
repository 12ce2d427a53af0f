@echo off
rem Ends the service, mail service up first, and takes it away. Configuration, journal and held mail stay.
"%ProgramFiles%\mailmend\mailmend-agent.exe" service uninstall %*
