@echo off
rem Puts the agent where it belongs and sets it up as a service. Run it in an elevated console; repeat it for a new
rem version, or after a change of agent.toml. What is given is handed on: install.cmd --start
setlocal
set "PROGRAM=%ProgramFiles%\mailmend"
set "DATA=%ProgramData%\mailmend"
if not exist "%PROGRAM%" mkdir "%PROGRAM%"
if not exist "%PROGRAM%" goto denied
if not exist "%PROGRAM%\mailmend-agent.exe" goto copy
rem A program that runs cannot be replaced. The agent brings mail service up before it ends.
"%PROGRAM%\mailmend-agent.exe" service uninstall
if errorlevel 1 goto failed
:copy
copy /y "%~dp0mailmend-agent.exe" "%PROGRAM%\mailmend-agent.exe" >nul
if errorlevel 1 goto denied
if exist "%DATA%" goto config
mkdir "%DATA%"
rem Everybody may write to ProgramData: key, guard file and journal belong to administrators and the system alone.
icacls "%DATA%" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" >nul
if errorlevel 1 goto denied
:config
if not exist "%DATA%\agent.toml" copy "%~dp0agent.toml" "%DATA%\agent.toml" >nul
if not exist "%DATA%\guard.toml" copy "%~dp0guard.toml" "%DATA%\guard.toml" >nul
"%PROGRAM%\mailmend-agent.exe" service install %*
if errorlevel 1 goto failed
echo Next: "%PROGRAM%\mailmend-agent.exe" enrol --token TOKEN --ca ca.pem
exit /b 0
:denied
echo Not done: this needs an elevated console. 1>&2
exit /b 5
:failed
echo Not done: see above. Edit agent.toml and guard.toml in "%DATA%", then run this again. 1>&2
exit /b 1
